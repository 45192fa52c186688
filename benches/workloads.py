"""What is built in the comparison with other builders: every byte from a seed, every time fixed, so that two machines
build the same trees.

  w1   COPY of 30,000 files, 419 MB, as `node_modules` is
  w2   COPY of one file of 1 GiB, half text and half noise
  w3   a loader: COPY, a RUN that writes 5,000 files of 150 MB, COPY
  w6   two stages: a RUN that makes 100 MB, of which FROM scratch takes one file
  w7r  FROM an image in the registry, ENV and CMD alone
"""
import itertools
import os
import random

TIME = 1_700_000_000
SEED = 20_261_122


class Texts:
    """4 MiB that read like a program and 4 MiB that read like JSON; both compress as such files do."""

    def __init__(self, seed):
        rng = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(6000)]
        picked = rng.choices(words, weights=[1 / (rank + 2) for rank in range(len(words))], k=700_000)
        word = itertools.cycle(picked)
        begins = ["const", "return", "function", "if (", "export default", "let", "for (", "this.", "await"]
        lines, size, indent = [], 0, 0
        while size < 4 << 20:
            indent = max(0, min(6, indent + rng.choice((-1, 0, 0, 1))))
            middle, end = rng.choice((" = ", "(", ".", ": ", " => ")), rng.choice((";", ") {", ",", "}"))
            lines.append(f"{'  ' * indent}{rng.choice(begins)} {next(word)}{middle}{next(word)}{end}\n")
            size += len(lines[-1])
        self.program = "".join(lines).encode()[:4 << 20]
        records, size = [], 0
        while size < 4 << 20:
            values = (next(word), rng.randint(0, 99_999), f"^{rng.randint(0, 20)}.{rng.randint(0, 30)}.0",
                      f"sha512-{rng.getrandbits(256):x}")
            fields = ",\n".join(f'  "{next(word)}": "{rng.choice(values)}"' for _ in range(6))
            records.append("{\n" + fields + "\n},\n")
            size += len(records[-1])
        self.json = "".join(records).encode()[:4 << 20]

    def some(self, rng, size):
        source, out = self.json if rng.random() < 0.3 else self.program, bytearray()
        while len(out) < size:
            length = min(size - len(out), rng.randint(2_000, 60_000))
            start = rng.randrange(len(source) - length)
            out += source[start:start + length]
        return bytes(out)


def write(path, data, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)
    os.chmod(path, mode)
    os.utime(path, (TIME, TIME))


def packages(root, seed, files, size, noise):
    """Many small files and a few large ones, in folders as npm makes them."""
    rng, texts = random.Random(seed), Texts(seed)
    sizes = [rng.lognormvariate(7.6, 1.5) for _ in range(files)]
    scale = size / sum(sizes)
    sizes = iter([max(16, int(one * scale)) for one in sizes])
    left, package = files, 0
    while left > 0:
        package += 1
        scope = f"@scope{rng.randrange(40)}/" if rng.random() < 0.2 else ""
        folder = f"{root}/{scope}package-{package}"
        below = ["", "lib/", "dist/", "dist/cjs/", "src/util/", "types/"][:rng.randint(1, 6)]
        for number in range(min(left, rng.randint(8, 70))):
            length, is_noise = next(sizes), rng.random() < noise
            ending = "wasm" if is_noise else rng.choice(("js", "js", "js", "d.ts", "json", "map", "md"))
            data = rng.randbytes(length) if is_noise else texts.some(rng, length)
            write(f"{folder}/{rng.choice(below)}file{number}.{ending}", data, 0o755 if number == 0 else 0o644)
            left -= 1
    for folder, _, _ in os.walk(root):
        os.utime(folder, (TIME, TIME))


# Splits two seed files at shifting places, as a package manager unpacks archives; needs head, tail and split alone.
INSTALL = b"""\
set -e
mkdir -p "$1"
package=0
while [ $package -lt 50 ]; do
  folder=$1/package$package/lib; mkdir -p "$folder"
  tail -c +$((package * 20011 + 1)) "$2" | head -c 2250000 > "$1/.text"
  tail -c +$((package * 10007 + 1)) "$3" | head -c 750000 > "$1/.noise"
  (cd "$folder" && split -a 3 -b 30000 "$1/.text" text_ && split -a 3 -b 30000 "$1/.noise" noise_)
  package=$((package + 1))
done
rm -f "$1/.text" "$1/.noise"
"""

BUILD = b"""\
set -e
mkdir -p /out
turn=0
while [ $turn -lt 10 ]; do cat /src/text.bin /src/noise.bin >> /out/app; turn=$((turn + 1)); done
chmod 755 /out/app
"""


def dockerfile(folder, *lines):
    write(f"{folder}/Dockerfile", "".join(line + "\n" for line in lines).encode())


def w1(folder, files=30_000):
    packages(f"{folder}/node_modules", SEED + 1, files, files * 13_981, 0.12)
    dockerfile(folder, "ARG BASE", "FROM $BASE", "WORKDIR /app", "ENV NODE_ENV=production",
               "COPY node_modules /app/node_modules", 'CMD ["sh", "-c", "echo hi"]')


def w2(folder, mib=1024):
    rng, texts = random.Random(SEED + 2), Texts(SEED + 2)
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/model.bin", "wb") as out:
        for _ in range(2 * mib):
            out.write(texts.some(rng, 1 << 18))
            out.write(rng.randbytes(1 << 18))
    os.utime(f"{folder}/model.bin", (TIME, TIME))
    dockerfile(folder, "ARG BASE", "FROM $BASE", "COPY model.bin /opt/model.bin", 'CMD ["sh", "-c", "ls -l /opt"]')


def w3(folder):
    rng, texts = random.Random(SEED + 3), Texts(SEED + 3)
    write(f"{folder}/package.json", b'{"name":"loader","version":"1.0.0","dependencies":{"pg":"^8.11.0"}}\n')
    write(f"{folder}/package-lock.json", texts.json[:200_000])
    write(f"{folder}/installer/text.bin", texts.some(rng, 3_500_000))
    write(f"{folder}/installer/noise.bin", rng.randbytes(1_500_000))
    write(f"{folder}/installer/install.sh", INSTALL, 0o755)
    packages(f"{folder}/src", SEED + 31, 200, 3 << 20, 0.05)
    write(f"{folder}/src/index.js", b"// entry v1\nconsole.log('load')\n")
    # Else another command would be another file to copy.
    write(f"{folder}/.dockerignore", b"Dockerfile\n")
    seeds = "/tmp/installer/text.bin /tmp/installer/noise.bin"
    dockerfile(folder, "ARG BASE", "FROM $BASE", "WORKDIR /usr/src/app", "ENV NODE_ENV=production", "COPY package*.json ./",
               "COPY installer /tmp/installer",
               f"RUN sh /tmp/installer/install.sh /usr/lib/node_modules {seeds}",
               "COPY . .", 'ENTRYPOINT ["sh", "-c"]', 'CMD ["echo load"]')


def w3_with_a_line_changed(folder):
    write(f"{folder}/src/index.js", b"// entry v2\nconsole.log('load it')\n")


def w3_with_another_command(folder):
    with open(f"{folder}/Dockerfile") as file:
        kept = [line for line in file.read().splitlines() if not line.startswith("CMD")]
    dockerfile(folder, *kept, "ENV RELEASE=2 LOG_LEVEL=debug", 'CMD ["echo two"]')


def w6(folder):
    rng, texts = random.Random(SEED + 6), Texts(SEED + 6)
    write(f"{folder}/text.bin", texts.some(rng, 5 << 20))
    write(f"{folder}/noise.bin", rng.randbytes(5 << 20))
    write(f"{folder}/build.sh", BUILD, 0o755)
    dockerfile(folder, "ARG BASE", "FROM $BASE AS build", "WORKDIR /src", "COPY . .", "RUN sh build.sh", "", "FROM scratch",
               "COPY --from=build /out/app /app", "USER 65534:65534", 'ENTRYPOINT ["/app"]')


def w7r(folder):
    dockerfile(folder, "ARG BASE", "FROM $BASE", "ENV RELEASE=2 LOG_LEVEL=debug", 'CMD ["echo two"]')
