"""Compares the flattened file systems of two OCI layouts: flat_diff.py NAME ONE OTHER. Exit code 1 where they differ."""
import gzip
import hashlib
import io
import json
import pathlib
import re
import sys
import tarfile

# Of the moment or of chance: keys, logs, caches, the time that Python's compiled files hold of their source.
MOMENT = re.compile(r"etc/ssh/ssh_host_|var/log/|var/cache/|var/lib/systemd/|etc/machine-id$|.*\.pyc$|root/\.npm/|tmp/")
# What a container engine mounts over, and may leave stubs of.
MOUNTED = re.compile(r"(proc|sys|dev|run)(/|$)|etc/(resolv\.conf|hosts|hostname)$|\.?run/\.containerenv$")


def blob(layout, digest):
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def flat(layout):
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(layout, index["manifests"][0]["digest"]))
    files = {}
    for layer in manifest["layers"]:
        data = blob(layout, layer["digest"])
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        added = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                path = entry.name.strip("./") if entry.name in ("./", ".", "/") else entry.name.removeprefix("./").strip("/")
                folder, _, name = path.rpartition("/")
                if name == ".wh..wh..opq":
                    for gone in [at for at in files if at.startswith(folder + "/")]:
                        del files[gone]
                elif name.startswith(".wh."):
                    gone = f"{folder}/{name[4:]}".strip("/")
                    for at in [at for at in files if at == gone or at.startswith(gone + "/")]:
                        del files[at]
                else:
                    added[path] = described(tar, entry)
        for path, what in added.items():
            if what[0] != "directory":
                for at in [at for at in files if at.startswith(path + "/")]:
                    del files[at]
            files[path] = what
    # The other names of a file are the file.
    return {path: files.get(what[1], what) if what[0] == "link" else what for path, what in files.items()}


def described(tar, entry):
    if entry.islnk():
        return ("link", entry.linkname.removeprefix("./").strip("/"))
    kind = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink", tarfile.FIFOTYPE: "fifo"}.get(entry.type, "file")
    mode = "" if kind == "symlink" else f"{entry.mode & 0o7777:04o}"
    attributes = {
        key.removeprefix("SCHILY.xattr."): value for key, value in entry.pax_headers.items() if "xattr" in key
    }
    content = hashlib.sha256(tar.extractfile(entry).read()).hexdigest()[:12] if kind == "file" else ""
    return (kind, mode, f"{entry.uid}:{entry.gid}", entry.linkname, sorted(attributes.items()), content)


def main():
    name, one, other = sys.argv[1], flat(pathlib.Path(sys.argv[2])), flat(pathlib.Path(sys.argv[3]))
    different = 0
    for path in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(path), other.get(path)
        if ours == theirs or MOUNTED.match(path):
            continue
        if MOMENT.match(path) and (ours is None or theirs is None or ours[:-1] == theirs[:-1]):
            continue
        different += 1
        print(f"{name}: {path}\n  ours   {ours}\n  theirs {theirs}")
    print(f"{name}: {len(one)} files, {different} differ")
    return 1 if different else 0


sys.exit(main())
