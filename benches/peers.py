#!/usr/bin/env python3
"""Builds and pushes the same work with several programs, in turns, by hand:

  benches/peers.py PROGRAM [--rounds 3] [--work W1,W2,…] [--zstd] [--files N] [--mib N] [--json FILE] [--svg FILE] [--readme FILE]

PROGRAM is a release build of locus-push. Each turn has a registry (docker-registry, on loopback) that holds the base image
and nothing else, and a folder of its own for the program's state; W4, W5 and W7 begin where a build of W3 has ended.
`floor` is what the machine's plain tools need for the same bytes, with no image around them: tar | pigz | curl. Programs
that are not there are left out. The figures are those of whole processes: wall seconds, seconds of the processor, and the
largest resident set in MiB.
"""
import argparse
import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import traceback

import picture
import workloads
from world import Registry, run

#         name   what is built            what is changed after a build of it that is not measured
WORK = {
    "W1": ("COPY of 30,000 files", workloads.w1, None),
    "W2": ("COPY of 1 GiB", workloads.w2, None),
    "W3": ("a loader with RUN, cold", workloads.w3, None),
    "W4": ("the same again", workloads.w3, lambda folder: None),
    "W5": ("one source file changed", workloads.w3, workloads.w3_with_a_line_changed),
    "W6": ("two stages, 100 MB", workloads.w6, None),
    "W7": ("ENV and CMD changed", workloads.w3, workloads.w3_with_another_command),
    "W7r": ("ENV and CMD on a pushed image", workloads.w7r, None),
}


MARKS = ("<!-- benches/peers.py writes from here -->", "<!-- to here -->")


def base(folder):
    """An OCI layout of 28 MB: the machine's busybox and split, with links of its applets' names, and some weight."""
    busybox, tar = shutil.which("busybox"), io.BytesIO()
    rng, texts = workloads.random.Random(1), workloads.Texts(1)
    with tarfile.open(fileobj=tar, mode="w") as archive:
        def add(name, data=None, **fields):
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = 0o755, workloads.TIME
            for key, value in fields.items():
                setattr(member, key, value)
            member.size = len(data or b"")
            archive.addfile(member, io.BytesIO(data or b""))

        # Of busybox's applets `split` is the one that Debian leaves out; what it is linked with comes along.
        split = shutil.which("split")
        linked = re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", split], text=True))
        programs = [path.lstrip("/") for path in [split, *linked]]
        above = {str(parent) for path in programs for parent in pathlib.PurePath(path).parents} - {"."}
        for name in sorted({"bin", "etc", "tmp", "usr", "usr/share"} | above):
            add(name, type=tarfile.DIRTYPE)
        for path in programs:
            with open(f"/{path}", "rb") as file:
                add(path, file.read())
        with open(busybox, "rb") as file:
            add("bin/busybox", file.read())
        for applet in subprocess.check_output([busybox, "--list"], text=True).split():
            if applet != "busybox":
                add(f"bin/{applet}", type=tarfile.SYMTYPE, linkname="busybox")
        add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        for number in range(2_000):
            add(f"usr/share/text{number}", texts.some(rng, 30_000))
        add("usr/share/noise", rng.randbytes(6 << 20))
    blobs = folder + "/blobs/sha256"
    os.makedirs(blobs)

    def keep(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{blobs}/{digest}", "wb") as out:
            out.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    diff_id = "sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()
    oci = "application/vnd.oci.image."
    layer = keep(gzip.compress(tar.getvalue(), 6, mtime=0), oci + "layer.v1.tar+gzip")
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin:/usr/bin"]},
              "rootfs": {"type": "layers", "diff_ids": [diff_id]}, "history": [{"created_by": "base"}]}
    config = keep(json.dumps(config).encode(), oci + "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config, "layers": [layer]}
    entry = keep(json.dumps(manifest).encode(), oci + "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    for name, document in [("index.json", {"schemaVersion": 2, "manifests": [entry]}),
                           ("oci-layout", {"imageLayoutVersion": "1.0.0"})]:
        with open(f"{folder}/{name}", "w") as out:
            json.dump(document, out)


def apart(job):
    """In a process of its own: a child's figure of memory begins with its parent's."""
    if os.fork() == 0:
        try:
            job()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    if os.wait()[1] != 0:
        sys.exit("the workloads were not made")


def ours(program, *more):
    def command(context, base, image, state):
        build = [program, "build", "--push", "--progress", "quiet", *more, "--build-arg", f"BASE={base}", "-t", image]
        return ["env", f"LOCUS_PUSH_HOME={state}", *build, context]
    return command


def buildah(context, base, image, state):
    policy = state + "/policy.json"
    os.makedirs(state, exist_ok=True)
    with open(policy, "w") as out:
        json.dump({"default": [{"type": "insecureAcceptAnything"}]}, out)
    tool = f"buildah --root {state}/root --runroot {state}/run --storage-driver overlay"
    tls = f"--tls-verify=false --signature-policy {policy}"
    return ["sh", "-ec", f"{tool} bud -q {tls} --layers --format oci --build-arg BASE={base} -t bench {context}\n"
                         f"{tool} push -q {tls} bench docker://{image}"]


def floor(context, base, image, state):
    """One blob, from the files to the registry; for what is only copied."""
    registry, repository = image.split("/")
    url = f"http://{registry}/v2/{repository.split(':')[0]}/blobs/uploads/"
    files = "node_modules" if os.path.exists(context + "/node_modules") else "model.bin"
    os.makedirs(state, exist_ok=True)
    return ["bash", "-ec", f"""
        at() {{ sed -n 's/^[Ll]ocation: //p' | tr -d '\\r'; }}
        place=$(curl -sfi -X POST {url} | at)
        place=$(tar -C {context} -cf - {files} | pigz -1 -p 2 | tee >(sha256sum > {state}/digest) |
            curl -sfi -X PATCH -H 'Content-Type: application/octet-stream' -T - "$place" | at)
        while ! [ -s {state}/digest ]; do sleep 0.01; done
        curl -sf -X PUT "$place&digest=sha256:$(cut -c1-64 {state}/digest)"
    """]


def turn(work, command, place, contexts, holding):
    """One measured run, all around it made anew."""
    _, _, change = WORK[work]
    folder = tempfile.mkdtemp(dir=place)
    with open(folder + "/config.json", "w") as out:
        out.write("{}")
    registry = Registry(folder, holding)
    try:
        at = f"127.0.0.1:{registry.port}"
        base, image, environment = f"{at}/base:1", f"{at}/bench:1", dict(os.environ, DOCKER_CONFIG=folder)
        context = contexts[work]
        if change:
            context = shutil.copytree(context, folder + "/context", symlinks=True)
            run(command(context, base, image, folder + "/state"), environment)
            change(context)
        if work == "W7r":
            run(command(contexts["W3"], base, f"{at}/previous:1", folder + "/before"), environment)
            base = f"{at}/previous:1"
        return run(command(context, base, image, folder + "/state"), environment)
    finally:
        registry.end()
        # Overlays of buildah's may still be mounted.
        subprocess.run(f"awk '$2 ~ \"^{folder}\" {{print $2}}' /proc/mounts | sort -ru | xargs -r umount", shell=True, check=False)
        shutil.rmtree(folder)


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def table(figures, tools):
    lines = ["| | | " + " | ".join(tools) + " |", "|---|---|" + "---|" * len(tools)]
    for work, of in figures.items():
        cells = []
        for tool in tools:
            one = of.get(tool)
            ratio = f" ({one['to_buildah']:.2f})" if one and one["to_buildah"] and tool != "buildah" else ""
            cells.append(f"{one['wall']:.2f} / {one['cpu']:.2f} / {one['memory']:.0f}{ratio}" if one else "–")
        lines.append(f"| {work} | {WORK[work][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("program", type=os.path.abspath)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--work", default=",".join(WORK))
    asked.add_argument("--zstd", action="store_true", help="locus-push with --compression zstd as well")
    asked.add_argument("--files", type=int, default=30_000, help="of W1")
    asked.add_argument("--mib", type=int, default=1024, help="of W2")
    asked.add_argument("--without", default="", help="programs to leave out")
    asked.add_argument("--place", help="where all is kept meanwhile; memory, where there is room")
    asked.add_argument("--json")
    asked.add_argument("--svg")
    asked.add_argument("--readme", help="where the table goes, between its marks")
    asked = asked.parse_args()
    roomy = shutil.disk_usage("/dev/shm").free > 12 << 30
    place = tempfile.mkdtemp(prefix="bench-peers-", dir=asked.place or ("/dev/shm" if roomy else None))
    tools = {"locus-push": ours(asked.program)}
    if asked.zstd:
        tools["locus-push zstd"] = ours(asked.program, "--compression", "zstd")
    if shutil.which("buildah"):
        tools["buildah"] = buildah
    if shutil.which("pigz"):
        tools["floor"] = floor
    tools = {name: tool for name, tool in tools.items() if name not in asked.without.split(",")}
    works = asked.work.split(",")
    try:
        makers = {"W1": lambda at: workloads.w1(at, asked.files), "W2": lambda at: workloads.w2(at, asked.mib),
                  "W3": workloads.w3, "W6": workloads.w6, "W7r": workloads.w7r}
        contexts = {work: f"{place}/{'W3' if work in ('W4', 'W5', 'W7') else work}" for work in [*WORK]}
        for work in {os.path.basename(contexts[work]) for work in works} | ({"W3"} if "W7r" in works else set()):
            apart(lambda: makers[work](contexts[work]))
        apart(lambda: base(place + "/layout"))
        registry = Registry(place)
        run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{place}/layout:1",
             f"docker://127.0.0.1:{registry.port}/base:1"], dict(os.environ))
        holding = shutil.copytree(registry.folder + "/data", place + "/holding")
        registry.end()
        runs = {}
        for number in range(asked.rounds):
            for work in works:
                for name, tool in tools.items():
                    if tool is floor and work not in ("W1", "W2"):
                        continue
                    figure = turn(work, tool, place, contexts, holding)
                    runs.setdefault(work, {}).setdefault(name, []).append(figure)
                    print(f"{number + 1}/{asked.rounds} {work:4} {name:16} {figure[0]:8.3f} s", file=sys.stderr)
    finally:
        shutil.rmtree(place)
    figures = {}
    for work, of in runs.items():
        for name, measured in of.items():
            wall, cpu, memory = zip(*measured)
            # Of the same turn: what disturbs one disturbs the other.
            ratios = [a[0] / b[0] for a, b in zip(measured, of.get("buildah", []))]
            figures.setdefault(work, {})[name] = {
                "wall": statistics.median(wall), "cpu": statistics.median(cpu), "memory": max(memory), "runs": wall,
                "to_buildah": statistics.median(ratios) if ratios else None,
            }
    about = {"machine": machine(), "date": datetime.date.today().isoformat(), "rounds": asked.rounds}
    told = f"{table(figures, tools)}\n\nWall s / CPU s / peak MiB (wall time to buildah's of the same turn); medians of {asked.rounds} turns.\n"
    told += f"{about['machine']}; {about['date']}."
    print(told)
    for work, of in figures.items():
        print(work, *(f"{name}/buildah {one['to_buildah']:.3f}" for name, one in of.items() if one["to_buildah"]))
    if asked.readme:
        text = pathlib.Path(asked.readme).read_text()
        before, _, rest = text.partition(MARKS[0])
        _, _, after = rest.partition(MARKS[1])
        pathlib.Path(asked.readme).write_text(f"{before}{MARKS[0]}\n\n{told}\n\n{MARKS[1]}{after}")
    if asked.json:
        with open(asked.json, "w") as out:
            json.dump({**about, "work": {work: WORK[work][0] for work in figures}, "figures": figures}, out, indent=1)
    if asked.svg:
        with open(asked.svg, "w") as out:
            out.write(picture.bars(figures, {work: WORK[work][0] for work in figures}, about))


if __name__ == "__main__":
    main()
