#!/usr/bin/env bash
# deps.sh SET...: installs the Debian packages of the named sets that this
# machine lacks, and nothing when it lacks none. Sets: demo, bench, test.
# Without root and without sudo it prints the one line to run, and ends with 3.
set -euo pipefail

demo=(cryptsetup-bin curl e2fsprogs fio fuse3 jq libnbd-bin mount nbdkit openssl python3-pykmip qemu-utils util-linux)
bench=(cryptsetup-bin fio libnbd-bin nbd-server nbdkit openssl qemu-utils)
test=("${demo[@]}" busybox-static cpio gcc libc6-dev nbd-client nbd-server python3-libnbd python3-pykmip qemu-system-x86 qemu-user-static shellcheck socat swtpm xfsprogs)

want=()
for set in "$@"; do
  case $set in
    demo) want+=("${demo[@]}") ;;
    bench) want+=("${bench[@]}") ;;
    test) want+=("${test[@]}") ;;
    *) echo "deps: no such set: $set" >&2; exit 2 ;;
  esac
done
if ! command -v dpkg-query >/dev/null; then
  echo "deps: this is not Debian: nothing installed; what lacks is skipped or fails by name"
  exit 0
fi
lack=()
for p in $(printf '%s\n' "${want[@]}" | sort -u); do
  [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null) == ii* ]] || lack+=("$p")
done
[[ ${#lack[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) != 0 ]]; then
  if ! command -v sudo >/dev/null || { ! sudo -n true 2>/dev/null && ! [[ -t 0 ]]; }; then
    echo "deps: these packages are missing and this user may not install them; run as root:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends -y ${lack[*]}" >&2
    exit 3
  fi
  as_root=(sudo)
fi
echo "deps: installing ${lack[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q --no-install-recommends -y "${lack[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "deps: apt could not install: ${lack[*]}" >&2
  exit 3
fi
