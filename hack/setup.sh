#!/bin/sh
# Makes sure that everything `make` needs is there: Debian packages by apt-get when root, else the exact command is printed; Go
# by its module proxy when the machine's is missing or too old. Prints nothing when nothing is missing.
#   usage: hack/setup.sh build|demo|test   (each includes the ones before)
set -eu
cd "$(dirname "$0")/.."
want=${1:-build}

missing=
need() { # need PROGRAM-OR-FILE PACKAGE
  case $1 in
  /*) [ -e "$1" ] || missing="$missing $2" ;;
  *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing="$missing $2" ;;
  esac
}

need git git
need dpkg-deb dpkg
need xz xz-utils
[ "$want" = build ] || need qemu-system-x86_64 qemu-system-x86
if [ "$want" = test ]; then
  need gcc gcc
  need /usr/include/stdlib.h libc6-dev
  need veritysetup cryptsetup-bin
  need crun crun
  need e2fsck e2fsprogs
  need /usr/share/ovmf/OVMF.fd ovmf
  need iptables iptables
  need protoc protobuf-compiler
  need /usr/include/google/protobuf/empty.proto libprotobuf-dev
fi

gover=$(sed -n 's/^go //p' go.mod)
go_is_new() { [ "$(printf '%s\n%s\n' "$gover" "$("$1" env GOVERSION 2>/dev/null | sed 's/^go//')" | sort -V | head -n 1)" = "$gover" ]; }
go=$(command -v go || true)
[ -n "$go" ] || { [ -x /usr/local/go/bin/go ] && go=/usr/local/go/bin/go; } || true
if [ -z "$go" ]; then
  need go golang-go
  need /etc/ssl/certs/ca-certificates.crt ca-certificates
fi

if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ]; then
    echo "installing:$missing" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
  else
    echo "missing programs; run: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
fi

[ -n "$go" ] || go=$(command -v go)
if ! go_is_new "$go"; then
  # Debian's Go is older than ours: take the toolchain as the module that Go's own proxy serves.
  case $(uname -m) in x86_64) arch=amd64 ;; *) echo "cloister builds on amd64 only, this is $(uname -m)" >&2; exit 1 ;; esac
  tool="golang.org/toolchain@v0.0.1-go$gover.linux-$arch"
  echo "fetching Go $gover" >&2
  answer=$(cd / && GOFLAGS=-mod=mod GO111MODULE=on "$go" mod download -json "$tool" 2>&1) || true
  dir=$(printf '%s\n' "$answer" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
  if [ -z "$dir" ]; then
    printf '%s\n' "$answer" | sed -n 's/^[[:space:]]*"Error": "\(.*\)",*$/\1/p' >&2
    echo "Go $gover could not be fetched from ${GOPROXY:-proxy.golang.org}; behind a proxy of your own its certificate must be among the machine's (ca-certificates)." >&2
    echo "Or install Go $gover from https://go.dev/dl and run again." >&2
    exit 1
  fi
  mkdir -p .go && cp -R "$dir/." .go/ && chmod -R u+w .go && chmod +x .go/bin/* .go/pkg/tool/*/*
fi
