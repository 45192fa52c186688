# Sourced by the scripts beside it: where things are kept, and processes that are ended by what they are.
# shellcheck shell=bash

CACHE=${LOCUS_TEST_CACHE:-$HOME/.cache/locus-push-tests}
case $CACHE in /?*) ;; *) echo "LOCUS_TEST_CACHE must be an absolute folder, not '$CACHE'" >&2; exit 2 ;; esac

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

# The rest of the script as root: podman's tasks have a network of their own, debootstrap makes devices.
as_root() { # as_root ARGUMENT…   the script's own
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || fail "this needs root, and there is no sudo"
  LOCUS_TEST_CACHE=$CACHE exec sudo --preserve-env "$(readlink -f "$0")" "$@"
}

need() { # need COMMAND…
  local command
  for command; do
    command -v "$command" >/dev/null || fail "no '$command' on this machine; tests/setup installs it"
  done
}

# A pid alone is given to another process some day; with the time of its start it names one process for ever.
# The command's name in /proc/PID/stat may hold spaces and brackets, so fields are counted after the last one. A
# process that has ended and whose parent has not asked yet (Z) is none.
birth() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

alive() { # alive FILE.pid
  local pid born
  [ -f "$1" ] && read -r pid born < "$1" && [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ]
}

start() { # start NAME FOLDER COMMAND…   its output in FOLDER/NAME.log, its pid in FOLDER/NAME.pid
  local name=$1 folder=$2; shift 2
  alive "$folder/$name.pid" && return
  # Every descriptor but the three is closed: a lock or a pipe of the caller's must not live on in a server.
  ( for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done 2>/dev/null
    exec setsid "$@" ) </dev/null >>"$folder/$name.log" 2>&1 &
  echo "$! $(birth $!)" > "$folder/$name.pid"
}

stop() { # stop NAME FOLDER   asks; after five seconds it insists
  local file=$2/$1.pid pid
  if alive "$file"; then
    read -r pid _ < "$file"
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do alive "$file" || break; sleep .1; done
    if alive "$file"; then kill -9 "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$file"
}

answers() { # answers URL NAME FOLDER   waits until URL answers; fails at once when NAME has ended
  for _ in $(seq 300); do
    curl -s --noproxy '*' -o /dev/null --max-time 5 ${4:-} "$1" && return
    alive "$3/$2.pid" || { tail -n 20 "$3/$2.log" >&2; fail "$2 ended before it answered"; }
    sleep .1
  done
  tail -n 20 "$3/$2.log" >&2; fail "$2 did not answer at $1 within 30 s"
}

free_ports() { # free_ports COUNT   that many ports of loopback that nobody listens on now
  python3 - "$1" <<'PY'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
PY
}
