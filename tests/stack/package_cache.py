#!/usr/bin/env python3
"""A package cache on loopback: what builds download from package registries is fetched once and kept.

RUN shares the host's network, so the base images that `bases` makes have this address in their apt sources,
.npmrc and pip.conf. A build then behaves the same on the first run and the hundredth, behind a company's
proxy or its certificate authority, and with the network gone once everything has been seen.

  /apt/…  /apt-security/…   the machine's own Debian or Ubuntu mirror
  /npm/…                    its npm registry; addresses of tarballs in the metadata point back here
  /pypi/…                   its Python index ("simple" pages); links to files point back here
  /files/KEY/NAME           a file that such an index named, elsewhere; nothing else is fetched

Which registries those are is no knowledge of this file: `upstreams` reads it off the machine. Files whose name
settles their bytes (packages, apt's by-hash indexes) are kept for ever; index pages for --fresh hours, and longer
when the registry does not answer. Reads only (GET, HEAD); loopback only; standard library only.

  package_cache.py --listen 127.0.0.1:47311 --upstreams upstreams.json --store DIR
"""
import argparse, base64, email.utils, hashlib, html, json, os, re, shutil, ssl, sys, tempfile, threading, time
import urllib.error, urllib.parse, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

IMMUTABLE = re.compile(r"\.(u?deb|tgz|whl|tar\.gz|tar\.bz2|tar\.xz|zip|metadata)$|/by-hash/")
LARGEST = 2 << 30
ABBREVIATED = "application/vnd.npm.install-v1+json"


class Upstreams:
    """The registries of this machine, and how it reaches them; the file may be written anew while we run."""

    def __init__(self, path):
        self.path = path

    def read(self):
        with open(self.path) as f:
            return json.load(f)

    def opener(self, area):
        known = self.read()
        trust = ssl.create_default_context()
        for bundle in known.get("ca", []):
            if os.path.exists(bundle):
                trust.load_verify_locations(bundle)
        # The machine's own proxy variables, unless apt has a proxy of its own.
        proxies = {**urllib.request.getproxies(), **(known.get("apt_proxy") or {} if area.startswith("apt") else {})}
        return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=trust))


class Store:
    """Fetched files below one folder, by the digest of their address. A file is whole or not there."""

    def __init__(self, folder, upstreams, fresh_hours):
        self.folder, self.upstreams, self.fresh = folder, upstreams, fresh_hours * 3600
        self.locks, self.guard = {}, threading.Lock()

    def path(self, text):
        name = hashlib.sha256(text.encode()).hexdigest()
        return os.path.join(self.folder, name[:2], name)

    def remember(self, url):
        """A key under which /files/ gives the bytes at `url`."""
        path = self.path("url " + url)
        if not os.path.exists(path):
            self.write(path, lambda f: f.write(url.encode()))
        return os.path.basename(path)

    def recall(self, key):
        if not re.fullmatch("[0-9a-f]{64}", key):
            return None
        try:
            with open(os.path.join(self.folder, key[:2], key)) as f:
                return f.read()
        except OSError:
            return None

    def write(self, path, fill):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
            try:
                fill(f)
            except BaseException:
                os.unlink(f.name)
                raise
        os.replace(f.name, path)

    def get(self, area, url, accept):
        """The path of the bytes at `url`; urllib's HTTPError when the registry has none."""
        path = self.path(f"{accept} {url}")
        with self.guard:
            lock = self.locks.setdefault(path, threading.Lock())
        with lock:
            try:
                age = time.time() - os.stat(path).st_mtime
            except OSError:
                age = None
            if age is not None and (IMMUTABLE.search(urllib.parse.urlparse(url).path) or age < self.fresh):
                return path, "kept"
            try:
                self.fetch(area, url, accept, path)
                return path, "fetched"
            except urllib.error.HTTPError as e:
                if age is None or e.code < 500:
                    raise
            except OSError:
                if age is None:
                    raise
            return path, "stale"

    def fetch(self, area, url, accept, path):
        parts = urllib.parse.urlsplit(url)
        headers = {"User-Agent": "package-cache", "Accept": accept}
        if parts.username:  # urllib takes a name in an address for a part of the host's
            pair = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        with self.upstreams.opener(area).open(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            expected = answer.headers.get("Content-Length")

            def fill(f):
                size = 0
                while chunk := answer.read(1 << 16):
                    size += len(chunk)
                    if size > LARGEST:
                        raise OSError(f"{url} is larger than {LARGEST} bytes")
                    f.write(chunk)
                if expected is not None and size != int(expected):
                    raise OSError(f"{url} ended after {size} of {expected} bytes")

            self.write(path, fill)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        area, _, rest = self.path.lstrip("/").partition("/")
        began, note = time.monotonic(), ""
        try:
            if not area:
                return self.answer(b"package cache\n", "text/plain")
            note = self.serve(area, rest)
        except LookupError as e:
            note = self.refuse(404, e)
        except urllib.error.HTTPError as e:
            note = self.refuse(e.code if e.code in (403, 404, 410) else 502, e)
        except OSError as e:
            note = self.refuse(502, e)
        print(f"{time.monotonic() - began:7.2f}s {note:7} {self.path}", flush=True)

    do_HEAD = do_GET

    def serve(self, area, rest):
        known = UPSTREAMS.read()
        if area == "files":
            key, _, name = rest.partition("/")
            url = STORE.recall(key)
            if url is None:
                raise LookupError("no index named that file")
            if name.endswith(".metadata"):  # PEP 658: a file's metadata lies beside it
                url += ".metadata"
            path, note = STORE.get("files", url, "*/*")
            self.answer_file(path)
            return note
        if area not in ("apt", "apt-security", "npm", "pypi") or not known.get(area):
            raise LookupError(f"nothing is known of /{area}/ on this machine")
        base = known[area].rstrip("/") + "/"
        url = base + rest
        if ".." in rest.split("/"):
            raise LookupError("an address may not climb")
        if area == "npm" and not IMMUTABLE.search(rest):
            accept = ABBREVIATED if ABBREVIATED in self.headers.get("Accept", "") else "application/json"
            path, note = STORE.get(area, url, accept)
            self.answer(self.npm_metadata(path, base), accept)
        elif area == "pypi":
            path, note = STORE.get(area, url, "text/html")
            self.answer(self.simple_page(path, url), "text/html; charset=utf-8")
        else:
            path, note = STORE.get(area, url, "*/*")
            self.answer_file(path)
        return note

    def npm_metadata(self, path, base):
        with open(path) as f:
            doc = json.load(f)
        for version in [doc, *(doc.get("versions") or {}).values()]:
            dist = version.get("dist") or {}
            if "tarball" in dist:
                tarball = dist["tarball"]
                dist["tarball"] = self.here("/npm/" + tarball[len(base):]) if tarball.startswith(base) else self.file(tarball)
        return json.dumps(doc).encode()

    def simple_page(self, path, page):
        def link(match):
            url, _, fragment = urllib.parse.urljoin(page, html.unescape(match[2])).partition("#")
            local = self.file(url) if IMMUTABLE.search(urllib.parse.urlparse(url).path) else match[2]
            return f'{match[1]}"{html.escape(local + ("#" + fragment if fragment else ""))}"'
        with open(path) as f:
            return re.sub(r'(<a\b[^>]*?\bhref=)"([^"]*)"', link, f.read()).encode()

    def file(self, url):
        return self.here(f"/files/{STORE.remember(url)}/{os.path.basename(urllib.parse.urlparse(url).path)}")

    def here(self, path):
        return f"http://{LISTEN}{path}"

    def answer(self, body, kind):
        self.head(len(body), kind, time.time())
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_file(self, path):
        with open(path, "rb") as f:
            found = os.fstat(f.fileno())
            self.head(found.st_size, "application/octet-stream", found.st_mtime)
            if self.command != "HEAD":
                shutil.copyfileobj(f, self.wfile, 1 << 16)

    def head(self, size, kind, changed):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("Last-Modified", email.utils.formatdate(changed, usegmt=True))
        self.end_headers()

    def refuse(self, status, why):
        body = f"{why}\n".encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True
        return f"{status} {why}"


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--listen", required=True)
    ap.add_argument("--upstreams", required=True)
    ap.add_argument("--store", required=True)
    ap.add_argument("--fresh", type=float, default=12, help="hours for which an index page is believed")
    A = ap.parse_args()
    host, port = A.listen.rsplit(":", 1)
    if host not in ("127.0.0.1", "localhost"):
        sys.exit("loopback only")
    LISTEN = A.listen
    UPSTREAMS = Upstreams(A.upstreams)
    STORE = Store(A.store, UPSTREAMS, A.fresh)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
