#!/usr/bin/env python3
"""Makes layers of the root file systems that `bases` laid out, and images of those, in a plain registry.

  base_images.py http://127.0.0.1:PORT FOLDER       FOLDER holds NAME.rootfs of each base
"""
import gzip, hashlib, json, os, stat, sys, tarfile, tempfile, urllib.error, urllib.parse, urllib.request

REGISTRY, WORK = sys.argv[1], sys.argv[2]
EPOCH, CREATED = 1700000000, "2023-11-14T22:13:20Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OCI = "application/vnd.oci.image."
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def entries(root):
    """Every path below root, relative, in one order on every machine."""
    found = []
    for folder, folders, files in os.walk(root):
        found += (os.path.relpath(os.path.join(folder, name), root) for name in folders + files)
    return sorted(found)


def same(a, b):
    try:
        x, y = os.lstat(a), os.lstat(b)
    except OSError:
        return False
    if (x.st_mode, x.st_uid, x.st_gid) != (y.st_mode, y.st_uid, y.st_gid):
        return False
    if stat.S_ISLNK(x.st_mode):
        return os.readlink(a) == os.readlink(b)
    if not stat.S_ISREG(x.st_mode):
        return True
    if x.st_size != y.st_size:
        return False
    with open(a, "rb") as f, open(b, "rb") as g:
        return f.read() == g.read()


def layer(root, below=None):
    """(diff id, gzip bytes) of root; with `below`, of what root changes, adds and removes there."""
    changed = [(p, False) for p in entries(root) if not below or not same(os.path.join(below, p), os.path.join(root, p))]
    gone = [p for p in entries(below) if not os.path.lexists(os.path.join(root, p))] if below else []
    # Below a folder that is gone, its own whiteout says it all.
    changed += [(p, True) for p in gone if os.path.lexists(os.path.join(root, os.path.dirname(p)))]
    seen = {}
    with tempfile.TemporaryFile() as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path, removed in sorted(changed):
                if removed:
                    whiteout = tarfile.TarInfo(os.path.join(os.path.dirname(path), ".wh." + os.path.basename(path)))
                    whiteout.mtime = EPOCH
                    tar.addfile(whiteout)
                else:
                    add(tar, os.path.join(root, path), path, seen)
        raw.seek(0)
        data = raw.read()
    return digest(data), gzip.compress(data, compresslevel=4, mtime=0)


def add(tar, full, path, seen):
    found = os.lstat(full)
    item = tarfile.TarInfo(path)
    item.mode, item.uid, item.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    item.mtime = min(int(found.st_mtime), EPOCH)
    if stat.S_ISDIR(found.st_mode):
        item.type = tarfile.DIRTYPE
        tar.addfile(item)
    elif stat.S_ISLNK(found.st_mode):
        item.type, item.linkname, item.mode = tarfile.SYMTYPE, os.readlink(full), 0o777
        tar.addfile(item)
    elif stat.S_ISREG(found.st_mode) and found.st_ino in seen:
        item.type, item.linkname = tarfile.LNKTYPE, seen[found.st_ino]
        tar.addfile(item)
    elif stat.S_ISREG(found.st_mode):
        seen[found.st_ino] = path
        item.size = found.st_size
        with open(full, "rb") as f:
            tar.addfile(item, f)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ask(method, url, data=None, headers={}):
    return DIRECT.open(urllib.request.Request(url, data=data, method=method, headers=headers))


def push_blob(repository, data):
    name = digest(data)
    try:
        ask("HEAD", f"{REGISTRY}/v2/{repository}/blobs/{name}")
    except urllib.error.HTTPError:
        upload = ask("POST", f"{REGISTRY}/v2/{repository}/blobs/uploads/", b"").headers["Location"]
        to = urllib.parse.urljoin(REGISTRY, upload)
        ask("PUT", to + ("&" if "?" in to else "?") + "digest=" + name, data, {"Content-Type": "application/octet-stream"})
    return name


def text(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def push_manifest(repository, name, value):
    ask("PUT", f"{REGISTRY}/v2/{repository}/manifests/{name}", text(value), {"Content-Type": value["mediaType"]})


AMD64 = {"architecture": "amd64", "os": "linux"}
ARM64 = {"architecture": "arm64", "os": "linux", "variant": "v8"}


def image(repository, layers, tags, arm64=None, **config):
    choices = []
    for platform, layers in (AMD64, layers), (ARM64, arm64):
        if layers is None:
            continue
        settings = text({
            **platform, "created": CREATED, "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff for diff, _ in layers]},
            "history": [{"created": CREATED, "created_by": "stand-in base"} for _ in layers],
        })
        manifest = {
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": push_blob(repository, settings), "size": len(settings)},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": push_blob(repository, z), "size": len(z)} for _, z in layers],
        }
        name = digest(text(manifest))
        push_manifest(repository, name, manifest)
        choices.append({"mediaType": manifest["mediaType"], "digest": name, "size": len(text(manifest)), "platform": platform})
    index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": choices}
    for tag in tags:
        push_manifest(repository, tag, index)
    platforms = " ".join(choice["platform"]["architecture"] for choice in choices)
    print(f"{repository} {digest(text(index))} {platforms}")


def root(name):
    return f"{WORK}/{name}.rootfs"


debian = layer(root("debian"))
image("library/busybox", [layer(root("busybox"))], ["latest", "stable", "1", "1.36"], [layer(root("busybox-arm64"))], Env=[PATH], Cmd=["sh"])
image("library/alpine", [layer(root("alpine"))], ["latest", "3", "3.20"], [layer(root("alpine-arm64"))], Env=[PATH], Cmd=["/bin/sh"])
image("library/debian", [debian], ["latest", "stable", "stable-slim", "12", "12-slim", "bookworm", "bookworm-slim"], Env=[PATH], Cmd=["bash"])
image("library/node", [debian, layer(root("node"), root("debian"))], ["latest", "lts", "20", "12.21.0"], Env=[PATH, "NODE_VERSION=12.21.0"], Cmd=["node"])
image("library/python", [debian, layer(root("python"), root("debian"))], ["latest", "3", "3-slim", "3.11"], Env=[PATH, "LANG=C.UTF-8"], Cmd=["python3"])
