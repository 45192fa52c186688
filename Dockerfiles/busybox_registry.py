#!/usr/bin/env python3
"""A registry on loopback with one image, docker.io/library/busybox, made of the busybox program it is given.

  busybox_registry.py BUSYBOX PORTFILE      writes its port to PORTFILE and serves until it is ended

For a machine that reaches package registries but no Docker Hub. Pull only; standard library only.
"""
import gzip, hashlib, io, json, os, subprocess, sys, tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OCI = "application/vnd.oci.image."
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def layer(busybox):
    with open(busybox, "rb") as f:
        program = f.read()
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        def entry(name, kind, mode, data=b"", link=""):
            item = tarfile.TarInfo(name)
            item.type, item.mode, item.size, item.linkname = kind, mode, len(data), link
            tar.addfile(item, io.BytesIO(data))
        for folder, mode in ("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755):
            entry(folder, tarfile.DIRTYPE, mode)
        entry("bin/busybox", tarfile.REGTYPE, 0o755, program)
        for applet in sorted(set(applets) - {"busybox"}):
            entry("bin/" + applet, tarfile.LNKTYPE, 0o755, link="bin/busybox")
        entry("usr/bin/env", tarfile.SYMTYPE, 0o777, link="/bin/env")
        entry("etc/passwd", tarfile.REGTYPE, 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        entry("etc/group", tarfile.REGTYPE, 0o644, b"root:x:0:\nnogroup:x:65534:\n")
    return buffer.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind, data):
    return {"mediaType": OCI + kind, "digest": digest(data), "size": len(data)}


def image(raw):
    """Path below /v2/library/busybox/ → (media type, bytes)."""
    squeezed = gzip.compress(raw, mtime=0)
    config = json.dumps({
        "architecture": ARCHITECTURE, "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(raw)]},
        "history": [{"created_by": "busybox-static"}],
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar+gzip", squeezed)],
    }).encode()
    blobs = {f"blobs/{digest(data)}": ("application/octet-stream", data) for data in (config, squeezed)}
    found = (OCI + "manifest.v1+json", manifest)
    return {**blobs, "manifests/latest": found, f"manifests/{digest(manifest)}": found}


def handler(files):
    class Pull(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            kind, data = files.get(self.path.removeprefix("/v2/library/busybox/"), (None, b"not here\n"))
            if self.path == "/v2/":
                kind, data = "application/json", b"{}"
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(data)))
            if kind:
                self.send_header("Docker-Content-Digest", digest(data))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    return Pull


server = ThreadingHTTPServer(("127.0.0.1", 0), handler(image(layer(sys.argv[1]))))
with open(sys.argv[2] + ".new", "w") as f:
    f.write(str(server.server_address[1]))
os.replace(sys.argv[2] + ".new", sys.argv[2])
server.serve_forever()
