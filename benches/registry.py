#!/usr/bin/env python3
"""Pushes one image with several programs to a docker-registry on loopback, in turns, by hand:

  benches/registry.py PROGRAM [--rounds 5] [--layers 10] [--mib 1024] [--buildah PATH]

PROGRAM is a release build of locus-push. The layers are of bytes that nobody compresses, so that it is the push that is
measured. Each first push goes to a registry of its own that has nothing; the second to one that has it all. The figures
are those of whole processes: wall seconds, seconds of the processor, and the largest resident set in MiB.
"""
import argparse, gzip, hashlib, io, json, os, random, shutil, statistics, subprocess, sys, tarfile, tempfile, traceback

from world import Registry, run


def layout(folder, layers, mib):
    """An OCI layout with so many layers, the same each time."""
    blobs = os.path.join(folder, "blobs/sha256")
    os.makedirs(blobs)

    def keep(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as out:
            out.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    image, diff_ids = [], []
    for number in range(layers):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            member = tarfile.TarInfo(f"layer{number}")
            noise = random.Random(number)
            # Python makes at most 256 MiB of them at once.
            data = b"".join(noise.randbytes((1 << 20) // layers) for _ in range(mib))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        diff_ids.append("sha256:" + hashlib.sha256(tar.getvalue()).hexdigest())
        packed = gzip.compress(tar.getvalue(), 1, mtime=0)
        image.append(keep(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": image,
    }
    entry = keep(json.dumps(manifest).encode(), manifest["mediaType"])
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    for name, document in [("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})]:
        with open(os.path.join(folder, name), "w") as out:
            json.dump(document, out)


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("program")
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--layers", type=int, default=10)
    asked.add_argument("--mib", type=int, default=1024)
    asked.add_argument("--buildah", default=shutil.which("buildah"))
    asked = asked.parse_args()
    place = tempfile.mkdtemp(prefix="bench-registry-")
    try:
        source = place + "/layout"
        # In a process of its own: a child's figure of memory begins with its parent's.
        if os.fork() == 0:
            try:
                layout(source, asked.layers, asked.mib)
                os._exit(0)
            except Exception:
                traceback.print_exc()
            os._exit(1)
        if os.wait()[1] != 0:
            sys.exit("the layout was not made")
        environment = dict(os.environ, LOCUS_PUSH_HOME=place + "/home", DOCKER_CONFIG=place + "/docker")
        os.mkdir(place + "/docker")
        with open(place + "/docker/config.json", "w") as out:
            out.write("{}")
        ours = lambda port: [asked.program, "push", "--progress", "quiet", source, f"127.0.0.1:{port}/bench:1"]
        skopeo = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{source}:1"]
        pushes = {"locus-push": ours, "skopeo copy": lambda port: [*skopeo, f"docker://127.0.0.1:{port}/bench:1"]}
        if asked.buildah:
            policy = place + "/policy.json"
            with open(policy, "w") as out:
                json.dump({"default": [{"type": "insecureAcceptAnything"}]}, out)
            storage = [asked.buildah, "--root", place + "/storage", "--runroot", place + "/run", "--storage-driver", "vfs"]
            run([*storage, "pull", "-q", "--signature-policy", policy, f"oci:{source}:1"], environment)
            image = subprocess.check_output([*storage, "images", "-q"], env=environment, text=True).split()[0]
            pushes["buildah push"] = lambda port: [
                *storage, "push", "-q", "--tls-verify=false", "--signature-policy", policy,
                image, f"docker://127.0.0.1:{port}/bench:1"]
        figures = {}
        for number in range(asked.rounds + 1):
            for name, command in pushes.items():
                registry = Registry(place)
                for which in ["first push", "push of what is there"]:
                    figure = run(command(registry.port), environment)
                    if number > 0:  # the first round warms up
                        figures.setdefault((which, name), []).append(figure)
                registry.end()
        for which, name in sorted(figures):
            wall, cpu, memory = zip(*figures[which, name])
            ratio = [a[0] / b[0] for a, b in zip(figures[which, "locus-push"], figures[which, name])]
            print(f"{which:22} {name:12} wall {statistics.median(wall):7.3f} s ({min(wall):.3f}-{max(wall):.3f})"
                  f"  cpu {statistics.median(cpu):6.3f} s  memory {max(memory):6.1f} MiB"
                  f"  ours/this {statistics.median(ratio):.2f}")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
