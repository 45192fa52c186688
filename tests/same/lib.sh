# What the scripts of this folder share: one context, built by one program and another, must give one image.

fail() { echo "${0##*/}: $*" >&2; exit 1; }

# context DIR: files of many sizes and kinds; what does not compress, what does, and what ustar has no room for.
context() {
  mkdir -p "$1/data/$(printf 'deep%.0s/' {1..60})" "$1/bin"
  head -c 3000000 /dev/zero > "$1/data/zeros"
  seq 1 400000 > "$1/data/numbers"
  # Noise that is the same each time.
  openssl enc -aes-256-ctr -nosalt -pass pass:same -pbkdf2 -in "$1/data/zeros" -out "$1/data/noise"
  printf '#!/bin/sh\necho loads\n' > "$1/bin/load"
  printf 'été\n' > "$1/data/été.csv"
  ln -s zeros "$1/data/link"
  ln "$1/data/numbers" "$1/data/again"
  find "$1" -type d -exec chmod 755 {} +
  find "$1" -type f -exec chmod 644 {} +
  chmod 755 "$1/bin/load"
  printf 'FROM scratch\nWORKDIR /app\nCOPY --chown=33:33 . .\nCOPY --chmod=600 data/numbers /n\nCMD ["/app/bin/load"]\n' \
    > "$1/Dockerfile"
}

# digest WORK NAME PROGRAM…: builds the context in WORK with this program; prints the image's digest.
digest() {
  local work=$1 name=$2; shift 2
  LOCUS_PUSH_HOME=$work/home.$name "$@" build --progress quiet -o "type=oci,dest=$work/$name,tar=false" "$work/context" \
    > /dev/null || fail "the build with $* failed"
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["manifests"][0]["digest"])' "$work/$name/index.json"
}

# same NAME DIGEST WANTED
same() {
  [ "$2" = "$3" ] || fail "$1 gives $2, and here it is $3"
  echo "$1 $2"
}
