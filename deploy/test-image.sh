#!/usr/bin/env bash
# Builds the image and shows that it does what the README promises: it runs as any user id with a
# read-only root, keeps its data in the volume over a restart, stops within 9 s with a waiter
# attached, knows whether it is well, and is small.
set -euo pipefail

max_added_megabytes=200
max_stop_seconds=9
user=12345
image=localhost/tiffin-test
base=docker.io/library/debian:bookworm-slim
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<USAGE
usage: deploy/test-image.sh

Uses docker where its daemon runs, else podman, which it installs on Debian and Ubuntu (as root).
Where the base image cannot be pulled, one is made by debootstrap. No engine is a failure.
The image stays, as $image.
USAGE
}

case ${1:-} in
  '') ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

say() { printf 'image: %s\n' "$*"; }
fail() {
  printf 'image: FAILED: %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d)
container=tiffin-test-$$ # and the names of all other containers start with it
containers=()
engine=() run_flags=() build_flags=() network=() server_network=()
host_network=no
cleanup() {
  local status=$?
  if ((status != 0)) && ((${#containers[@]} > 0)); then
    "${engine[@]}" logs --tail 50 "$container" >&2 || true
  fi
  local name
  for name in "${containers[@]}"; do "${engine[@]}" rm -f "$name" >/dev/null 2>&1 || true; done
  [[ ! -d $work/data ]] || on_data rm -rf /work/data >/dev/null 2>&1 || true # it is another user's
  rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

now_ms() { date +%s%3N; }

# until_true SECONDS COMMAND...: waits for COMMAND to succeed.
until_true() {
  local deadline=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    (($(now_ms) < deadline)) || return 1
    sleep 0.1
  done
}

install_packages() {
  command -v apt-get >/dev/null || fail "$* is missing, and this is not Debian or Ubuntu"
  ((EUID == 0)) || fail "$* is missing; run: apt-get install --no-install-recommends $*"
  apt-get -q update >/dev/null || true
  DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@" >/dev/null ||
    fail "apt-get could not install $*"
}

# ---- the engine -------------------------------------------------------------------------------

choose_engine() {
  if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    engine=(docker)
  else
    command -v podman >/dev/null || install_packages podman runc
    engine=(podman)
  fi
  "${engine[@]}" version >/dev/null || fail "${engine[*]} does not work"
}

# Makes a Debian base of this machine's own apt sources, certificates and apt settings.
make_base() {
  say "$base cannot be pulled; making one by debootstrap"
  command -v debootstrap >/dev/null || install_packages debootstrap
  ((EUID == 0)) || fail "debootstrap needs root"
  local root=$work/root mirror
  # shellcheck disable=SC2016 # apt fills the names in
  mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "bookworm" { print $2; exit }')
  debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >"$work/debootstrap.log" ||
    fail "debootstrap: $(tail -n 3 "$work/debootstrap.log")"
  if [[ -n $mirror ]]; then
    rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d
    cp -rL /etc/apt/sources.list.d "$root/etc/apt/"
    [[ ! -f /etc/apt/sources.list ]] || cp /etc/apt/sources.list "$root/etc/apt/"
    cp -rLn /etc/apt/keyrings "$root/etc/apt/" 2>/dev/null || true
    cp -rLn /usr/share/keyrings/. "$root/usr/share/keyrings/"
  fi
  apt-config dump | grep '^Acquire::[A-Za-z:]*\(Proxy\|Check\|Verify\|CAInfo\)' \
    >"$root/etc/apt/apt.conf.d/90host" || true
  if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
    mkdir -p "$root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  fi
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | "${engine[@]}" import - "$base" >/dev/null
  rm -rf -- "$root"
}

provide_base() {
  "${engine[@]}" image inspect "$base" >/dev/null 2>&1 || "${engine[@]}" pull -q "$base" \
    >/dev/null 2>&1 || make_base
}

# Inside another container, an engine often may not raise limits or make networks.
choose_limits() {
  if "${engine[@]}" run --rm "$base" true >/dev/null 2>&1; then return; fi
  [[ ${engine[0]} == podman ]] || fail "docker cannot run $base"
  run_flags=(--ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
  build_flags=(--isolation chroot --network host)
  host_network=yes
  "${engine[@]}" run --rm --network host "${run_flags[@]}" "$base" true >"$work/probe.log" 2>&1 && return
  command -v runc >/dev/null || install_packages runc
  engine=(podman --runtime runc)
  "${engine[@]}" run --rm --network host "${run_flags[@]}" "$base" true >"$work/probe.log" 2>&1 ||
    fail "podman cannot run a container here: $(cat "$work/probe.log")"
}

# ---- the steps --------------------------------------------------------------------------------

build_image() {
  local format=()
  [[ ${engine[0]} == docker ]] || format=(--format docker) # OCI's format has no health check
  DOCKER_BUILDKIT=1 "${engine[@]}" build "${build_flags[@]}" "${format[@]}" \
    --build-arg "BASE=$base" -t "$image" "$project" || fail "the image does not build"
}

check_size() {
  local size added
  size=$("${engine[@]}" image inspect --format '{{.Size}}' "$image")
  added=$(((size - $("${engine[@]}" image inspect --format '{{.Size}}' "$base")) / 1000000))
  ((added < max_added_megabytes)) || fail "the image adds $added MB to its base"
  say "adds $added MB to its base (limit $max_added_megabytes)"
}

check_contents() {
  local found
  found=$("${engine[@]}" run --rm "${network[@]}" "${run_flags[@]}" --entrypoint find "$image" \
    /usr/local /opt -type f 2>/dev/null | sort | tr '\n' ' ')
  [[ $found == "/usr/local/bin/tiffin /usr/local/bin/tiffin-server " ]] ||
    fail "the image should hold the server and the CLI only, but has $found"
  say "holds tiffin-server and tiffin only"
}

start_server() {
  local read_only=(--read-only)
  [[ ${engine[0]} == docker ]] || read_only+=(--read-only-tmpfs=false)
  containers+=("$container")
  "${engine[@]}" run -d --name "$container" "${run_flags[@]}" "${server_network[@]}" \
    "${read_only[@]}" --user "$user:$user" -v "$work/data:/data" "$image" >/dev/null ||
    fail "the container does not start"
  until_true 30 is_healthy || fail "the server is not healthy after 30 s"
}

# By the command that the image's HEALTHCHECK names.
is_healthy() {
  if [[ ${engine[0]} == docker ]]; then
    [[ $(docker inspect --format '{{.State.Health.Status}}' "$container") == healthy ]]
  else
    "${engine[@]}" healthcheck run "$container"
  fi
}

# cli NAME ARGUMENT...: the CLI in a container of its own, its standard input passed on.
cli() {
  local name=$container-$1
  shift
  containers+=("$name")
  "${engine[@]}" run --rm -i --name "$name" "${run_flags[@]}" --network host \
    --entrypoint tiffin "$image" --server "127.0.0.1:$port" --json "$@"
}

# Runs its arguments as root beside /work/data.
on_data() { "${engine[@]}" run --rm "${run_flags[@]}" "${network[@]}" -v "$work:/work" "$base" "$@"; }

free_port() {
  python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

choose_engine
say "engine: $("${engine[@]}" --version)"
provide_base
choose_limits
build_image
check_size

port=$(free_port)
if [[ $host_network == yes ]]; then
  network=(--network host)
  # No network of its own: another port than the usual one, which may be taken here.
  server_network=(--network host -e "TIFFIN_LISTEN=0.0.0.0:$port" -e "TIFFIN_SERVER=127.0.0.1:$port")
else
  server_network=(-p "127.0.0.1:$port:7410")
fi
check_contents

chmod 0711 "$work"
mkdir -m 0700 "$work/data"
on_data chown "$user:$user" /work/data || fail "cannot give the data folder to user $user"
start_server
say "runs as user $user with a read-only root and is healthy"


# field NAME[.NAME]...: that member of the JSON object on standard input.
field() {
  python3 -c 'import functools, json, sys
print(functools.reduce(lambda o, n: o[n], sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}

job='{"function": "demo.add", "arguments": [1, 2]}'
key=$(echo 3 | cli store store - --job "$job" | field key) || fail "storing a result from outside"
[[ $(cli get get "$key" | field record) == 3 ]] || fail "the stored result does not come back"
say "stored the result of job $key from another container"

# A job that is being computed, and somebody who waits for it.
pending='{"function": "demo.slow", "arguments": []}'
echo "$pending" | cli submit submit --compute --term 1h >"$work/granted" || fail "no lease granted"
pending_key=$(field key <"$work/granted")
cli waiter await --patience 2m "$pending_key" >"$work/awaited" 2>"$work/waiter.log" &
waiter=$!
is_awaited() { (($(cli stats-$RANDOM stats | field waiting) > 0)); }
until_true 30 is_awaited || fail "the waiter does not attach: $(cat "$work/waiter.log")"

started=$(now_ms)
"${engine[@]}" stop -t 20 "$container" >/dev/null
took=$(($(now_ms) - started))
code=$("${engine[@]}" inspect --format '{{.State.ExitCode}}' "$container")
((code == 0)) || fail "the stopped server's exit code is $code"
((took < max_stop_seconds * 1000)) || fail "stopping with a waiter attached took $took ms"
say "stopped with a waiter attached in $took ms, exit code 0"

"${engine[@]}" start "$container" >/dev/null
until_true 30 is_healthy || fail "the server is not healthy after it was started again"
[[ $(cli again get "$key" | field record) == 3 ]] || fail "the result did not survive the restart"
outcome=$(echo "$job" | cli hit submit --compute | field outcome)
[[ $outcome == RETRIEVED ]] || fail "the job is $outcome after the restart, not a hit"
say "started again: the job is a hit"

kill -0 "$waiter" 2>/dev/null || fail "the waiter gave up: $(cat "$work/waiter.log")"
echo '"at last"' | cli late store - --key "$pending_key" \
  --lease "$(field lease.id <"$work/granted")" --epoch "$(field lease.epoch <"$work/granted")" \
  >/dev/null || fail "the lease did not survive the restart"
wait "$waiter" || fail "the waiter failed: $(cat "$work/waiter.log")"
[[ $(field result.record <"$work/awaited") == "at last" ]] || fail "the waiter got something else"
say "the lease held, and the waiter got its result over the restart"

owner=$(on_data find /work/data -mindepth 1 ! -user "$user")
[[ -z $owner ]] || fail "these files are not of user $user: $owner"
"${engine[@]}" stop -t 20 "$container" >/dev/null
say "passed"
