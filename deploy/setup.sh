#!/usr/bin/env bash
# Installs what tiffin needs to be built, tested and shown, and fetches BoringSSL's source.
#
# Does only what is missing, so it may be run before every build: when nothing is missing it
# neither asks for root nor touches the network.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
boringssl=${TIFFIN_BORINGSSL_SOURCE:-$project/build/deps/boringssl}
boringssl_package=android-platform-external-boringssl

packages=(
  # build
  g++ cmake ninja-build ccache pkg-config git ca-certificates dpkg-dev
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev
  libhdf5-dev libsqlitecpp-dev libsqlite3-dev libspdlog-dev libcli11-dev libxxhash-dev libjemalloc-dev
  prometheus-cpp-dev
  # test and demo
  libgtest-dev libgmock-dev libbenchmark-dev hdf5-tools
  python3 python3-h5py python3-numpy python3-grpcio python3-grpc-tools python3-protobuf
  python3-yaml
)

usage() {
  cat <<USAGE
usage: deploy/setup.sh [--fuzz | --plot]

Installs the Debian packages that tiffin's build, tests and demo need (only those missing), and
unpacks BoringSSL's source, from the Debian source package $boringssl_package, to
  $boringssl

--fuzz  also clang with libFuzzer, for deploy/fuzz.sh
--plot  also gnuplot, for deploy/bench.sh --plot

TIFFIN_BORINGSSL_SOURCE  another folder for that source; a tree that is already there is used as
                         it is and nothing is fetched

Needs Debian 12 or later, or Ubuntu 24.04 or later; root (or sudo) only if a package is missing.
USAGE
}

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

case ${1:-} in
  '') ;;
  --fuzz) packages+=(clang-14 libclang-rt-14-dev) ;;
  --plot) packages+=(gnuplot-nox) ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

work=
cleanup() { [[ -z $work ]] || rm -rf -- "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

is_installed() {
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

has_boringssl() { [[ -f $boringssl/debian/sources.mk || -f $boringssl/sources.mk ]]; }

require_debian() {
  if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then return; fi
  local system=unknown
  # shellcheck disable=SC1091
  [[ ! -r /etc/os-release ]] || system=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-$ID}")
  fail "this system ($system) has no apt-get: only Debian and Ubuntu can be set up automatically." \
    "By hand: a C++20 compiler (g++ 12), CMake 3.25, Ninja, gRPC 1.51 and Protocol Buffers 3.21" \
    "with their C++ plug-in and CMake files, HDF5 1.10 with its C++ API, SQLite 3.40, SQLiteCpp 3.2," \
    "spdlog, CLI11, xxHash, prometheus-cpp 1.0, Abseil, GoogleTest and GoogleMock, Google Benchmark; for the tests" \
    "Python 3 with h5py, numpy, grpcio, grpcio-tools, protobuf and PyYAML, and h5dump." \
    "BoringSSL: unpack the Debian source package $boringssl_package (or any tree with its" \
    "sources.mk) and name the folder in TIFFIN_BORINGSSL_SOURCE." \
    "Then set TIFFIN_SKIP_SETUP=1, which deploy/test.sh and deploy/demo.sh obey."
}

# Runs its arguments as root. Explains itself and stops where that is impossible.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    sudo -- "$@"
  else
    fail "packages are missing, and installing them needs root. Run as root:" \
      "  apt-get update && apt-get install --no-install-recommends ${missing[*]}" \
      "and then this script again as yourself."
  fi
}

install_packages() {
  missing=()
  local package
  for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then return; fi
  say "installing ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update ||
    say "apt-get update reported errors; going on with the package lists there are"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install: ${missing[*]}" \
      "tiffin needs the packages of Debian 12 or later, or Ubuntu 24.04 or later (with universe)."
}

# Writes to folder $1 a copy of the distribution's own apt sources that asks for source packages.
mirror_apt_sources() {
  local entry file number
  # A source is named FILE:N, N being the line of a .list file or the stanza of a .sources file.
  # shellcheck disable=SC2016 # apt fills the names in
  apt-get indextargets --format '$(ORIGIN)|$(SOURCESENTRY)' 'Created-By: Packages' |
    sed -n -E 's/^(Debian|Ubuntu|Raspbian)\|//p' | sort -u |
    while IFS= read -r entry; do
      file=${entry%:*} number=${entry##*:}
      if [[ $file == *.sources ]]; then
        awk -v wanted="$number" '
          BEGIN { RS = ""; FS = "\n" }
          NR == wanted {
            for (i = 1; i <= NF; i++) print tolower($i) ~ /^types:/ ? "Types: deb-src" : $i
            print ""
          }' "$file" >>"$1/source.sources"
      else
        sed -n -E "${number}s/^([[:space:]]*)deb(-src)?([[:space:]])/deb-src\\3/p" "$file" \
          >>"$1/source.list"
      fi
    done
  [[ -s $1/source.sources || -s $1/source.list ]]
}

fetch_boringssl() {
  if has_boringssl; then return; fi
  if [[ -e $boringssl ]] && [[ -n $(ls -A -- "$boringssl") ]]; then
    fail "$boringssl is there, but is no BoringSSL source (it has no debian/sources.mk);" \
      "remove it, or name another folder in TIFFIN_BORINGSSL_SOURCE."
  fi
  mkdir -p -- "$(dirname -- "$boringssl")"
  # Beside its final place, so that the last step is a rename and nothing half done is ever used.
  work=$(mktemp -d -- "$boringssl.XXXXXX")
  chmod 0755 -- "$work"
  mkdir -p -- "$work"/{sources.list.d,lists/partial,cache/archives/partial,download}

  local by_hand=(
    "by hand: unpack the Debian source package $boringssl_package (apt-get source) and name the"
    "folder in TIFFIN_BORINGSSL_SOURCE."
  )
  mirror_apt_sources "$work/sources.list.d" ||
    fail "apt's configuration names no Debian or Ubuntu mirror (is apt-get update needed?);" \
      "${by_hand[@]}"
  # A private copy of apt's state: the system's own sources stay as they are, and no root is needed.
  local apt=(apt-get -q
    -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources.list.d"
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache")
  ((EUID != 0)) || ! id _apt >/dev/null 2>&1 || chown _apt -- "$work/download"

  say "fetching the source of $boringssl_package"
  "${apt[@]}" update || say "some source lists could not be read; going on with the others"
  (cd -- "$work/download" && "${apt[@]}" source --download-only "$boringssl_package") ||
    fail "apt-get could not fetch $boringssl_package;" "${by_hand[@]}"
  # apt has checked the files against the archive's signature.
  dpkg-source --no-check --no-copy -x "$work"/download/*.dsc "$work/tree"
  [[ ! -d $boringssl ]] || rmdir -- "$boringssl"
  mv -T -- "$work/tree" "$boringssl" || has_boringssl # somebody else was quicker
  has_boringssl || fail "$boringssl_package has no debian/sources.mk;" "${by_hand[@]}"
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then require_debian; fi
install_packages
fetch_boringssl
say "ready (BoringSSL: $boringssl)"
