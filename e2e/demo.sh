#!/usr/bin/env bash
# demo.sh LOCKPLATE: the main job from nothing to proof, in a temporary folder.
# Every numbered step prints what proves it; exit 0 only if every proof held.
# Nothing is left running or mounted. Logs of the last run are in demo.out/.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
lockplate=$(readlink -f "${1:-bin/lockplate}")
[[ -x $lockplate ]] || { echo "demo: no program at $lockplate: run make build" >&2; exit 1; }

work=$(mktemp -d)
keep=demo.out
rm -rf "$keep" && mkdir -p "$keep"
state=$work/state drive=$work/drive sock=$work/nbd.sock fuse=$work/fuse mnt=$work/mnt
daemon='' keyserver='' fusepid='' loop='' failures=0 proofs=0 step=0 began=$SECONDS

cleanup() {
  detach
  [[ -z $daemon ]] || { kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null
  [[ -z $keyserver ]] || { kill "$keyserver" && wait "$keyserver"; } 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { step=$((step + 1)); printf '\n%2d. %s\n' "$step" "$*"; }
note() { printf '      %s\n' "$*"; }
skip() { printf '    skipped  %s\n' "$*"; }
die() { printf '    FAILED  %s\n' "$*"; exit 1; }
# proof TEXT COMMAND...: holds if the command succeeds; what it prints is shown
# only if it does not.
proof() {
  local text=$1 log=$work/proof.log
  shift
  proofs=$((proofs + 1))
  if "$@" >"$log" 2>&1; then
    printf '    ok      %s\n' "$text"
  else
    printf '    FAILED  %s\n' "$text"
    head -n 20 "$log" | sed 's/^/            /'
    failures=$((failures + 1))
  fi
}
refused() { ! "$@"; }
lp() { "$lockplate" "$@" --state "$state"; }
uri() { echo "nbd+unix:///$1?socket=$sock"; }
until_true() { # seconds, command
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do [[ $SECONDS -lt $end ]] || return 1; sleep 0.02; done
}
sha() { sha256sum | cut -d' ' -f1; }
read_volume() { nbdcopy "$(uri "$1")" - | sha; }

serve() {
  "$lockplate" serve --state "$state" --nbd "unix:$sock" --api none --metrics "unix:$work/metrics.sock" >>"$keep/serve.log" 2>&1 &
  daemon=$!
  until_true 10 lp status || { cat "$keep/serve.log"; die "serve does not answer"; }
}

# key_server: PyKMIP, a key server of other people's, with its own authority.
kmip=(bash keymgr/kmiptest/testdata/pykmip-server.sh "$work/kmip")
key_server() {
  rm -f "$work/kmip/ready"
  "${kmip[@]}" "$port" >>"$keep/kmip.log" 2>&1 &
  keyserver=$!
  until_true 15 test -e "$work/kmip/ready"
}

# attach NAME: the volume as the block device $loop of this host.
attach() {
  mkdir -p "$fuse" "$mnt"
  nbdfuse "$fuse/disk" "$(uri "$1")" >>"$keep/nbdfuse.log" 2>&1 &
  fusepid=$!
  until_true 10 test -e "$fuse/disk" && loop=$(losetup --find --show "$fuse/disk" 2>>"$keep/nbdfuse.log")
}
detach() {
  { mountpoint -q "$mnt" && umount "$mnt"; } 2>/dev/null
  [[ -z $loop ]] || losetup --detach "$loop"
  [[ -z $fusepid ]] || { fusermount3 -u "$fuse"; wait "$fusepid"; } 2>/dev/null
  loop='' fusepid=''
}

# decrypt_sector KEY-FILE NUMBER: one 512-byte unit of AES-256-XTS from standard
# input, with nothing but OpenSSL's single-block AES. (The key is on a command
# line here; it locks nothing but this demonstration.)
decrypt_sector() {
  local key half2 tweak t='' i j b carry c
  key=$(od -An -v -tx1 "$1" | tr -d ' \n')
  half2=${key:64}
  key=${key:0:64}
  tweak=$(printf '%016x' "$2" | fold -w2 | tac | tr -d '\n')0000000000000000
  tweak=$(xor_hex "$tweak" "${tweak//?/0}" | openssl enc -aes-256-ecb -nopad -K "$half2" | od -An -v -tx1 | tr -d ' \n')
  for ((i = 0; i < 32; i++)); do
    t+=$tweak
    carry=0
    c=''
    for ((j = 0; j < 32; j += 2)); do
      b=$((16#${tweak:j:2}))
      c+=$(printf '%02x' $(((b << 1 | carry) & 255)))
      carry=$((b >> 7))
    done
    tweak=$(printf '%02x' $((16#${c:0:2} ^ carry * 0x87)))${c:2}
  done
  xor_hex "$(od -An -v -tx1 | tr -d ' \n')" "$t" | openssl enc -d -aes-256-ecb -nopad -K "$key" >"$work/xts.tmp"
  xor_hex "$(od -An -v -tx1 "$work/xts.tmp" | tr -d ' \n')" "$t"
}
xor_hex() { # two equally long hexadecimal strings; bytes out
  local i out=''
  for ((i = 0; i < ${#1}; i += 8)); do out+=$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' \
    $((16#${1:i:2} ^ 16#${2:i:2})) $((16#${1:i+2:2} ^ 16#${2:i+2:2})) $((16#${1:i+4:2} ^ 16#${2:i+4:2})) $((16#${1:i+6:2} ^ 16#${2:i+6:2}))); done
  printf '%b' "$out"
}

entropy() { # bits in a byte of standard input, two digits
  od -An -v -tu1 -w1 | awk '{ n[$1]++; t++ } END { for (b in n) h -= n[b]/t * log(n[b]/t)/log(2); printf "%.4f", h }'
}

step "the program"
version=$("$lockplate" version) || die "$lockplate version"
while read -r line; do note "$line"; done <<<"$version"
proof "it names its version and cipher engine" grep -qi 'engine\|x/crypto' <<<"$version"

step "a cluster with an internal master key, sealed by a key file"
mkdir -p "$drive" "$work/media"
proof "lockplate init" lp init --seal "file:$work/media/seal.key"
[[ $failures = 0 ]] || exit 1
proof "a second init is refused" refused lp init --seal "file:$work/media/seal.key"

step "serve on a Unix socket; a drive and two encrypted volumes"
serve
head -c 24 /dev/urandom | base64 | tr -d '\n' >"$work/recovery"
proof "drive added" lp drive add "dir:$drive"
proof "volume 'files', 64 MiB, with a recovery passphrase" lp volume create files --size 64MiB --discard zero --recovery --passphrase-file "$work/recovery" --kdf pbkdf2
proof "volume 'text', 4 MiB, with a recovery passphrase" lp volume create text --size 4MiB --recovery --passphrase-file "$work/recovery" --kdf pbkdf2
[[ $failures = 0 ]] || exit 1
lp key status | sed 's/^/      /'
lp key status --json >"$work/key"
proof "the key is internal" jq -e '.masterKeyInfo.keyManagementType == "internal"' "$work/key"

step "what a client is offered (nbdinfo)"
nbdinfo "$(uri files)" >"$work/info"
grep -E 'export-size|can_(flush|fua|trim|zero|multi_conn)' "$work/info" | sed 's/^[[:space:]]*/      /'
proof "64 MiB, flush, FUA, trim, zeroes, many connections" \
  test "$(grep -cE 'export-size: 67108864|can_(flush|fua|trim|zero|multi_conn): true' "$work/info")" = 6

step "written by one client, read back by another"
text='The gold is under the third flagstone from the well.'
yes "$text" | head -c $((4 << 20)) >"$work/text"
proof "nbdcopy writes 4 MiB of a known text" nbdcopy --flush "$work/text" "$(uri text)"
proof "qemu-img compare: identical" qemu-img compare -q -f raw -F raw "$work/text" "$(uri text)"
proof "qemu-io writes a pattern at an odd place and verifies it" \
  qemu-io -f raw -c 'write -f -P 0x5a 1000001 7777' -c 'read -P 0x5a 1000001 7777' "$(uri text)"
proof "nbdcopy puts the text back" nbdcopy --flush "$work/text" "$(uri text)"
find . -path ./.git -prune -o -type f \( -name '*.go' -o -name '*.md' \) -print0 | xargs -0 sha256sum >"$work/sums"
if [[ $(id -u) = 0 ]] && attach files; then
  proof "nbdfuse and a loop device: mkfs.ext4 on $loop" mkfs.ext4 -q -b 4096 "$loop"
  mount "$loop" "$mnt" || die "mount"
  cut -c67- "$work/sums" | xargs cp --parents -t "$mnt"
  proof "$(wc -l <"$work/sums") files copied into the mounted volume" test "$(find "$mnt" -type f | wc -l)" = "$(wc -l <"$work/sums")"
  umount "$mnt"
  proof "e2fsck finds it clean" e2fsck -fn "$loop"
  detach
else
  skip "mounting: needs root, /dev/fuse and a loop device; the file system is made in a file and copied in"
  detach
  mkdir "$work/tree" && cut -c67- "$work/sums" | xargs cp --parents -t "$work/tree"
  truncate -s 64M "$work/fs" && mke2fs -q -t ext4 -b 4096 -d "$work/tree" "$work/fs"
  proof "nbdcopy writes an ext4 file system" nbdcopy --flush "$work/fs" "$(uri files)"
fi
proof "qemu-img reads the volume out" qemu-img convert -f raw -O raw "$(uri files)" "$work/copy"
mkdir "$work/out" && debugfs -R "rdump / $work/out" "$work/copy" >/dev/null 2>&1
proof "every file has the same sha256" env -C "$work/out" sha256sum --check --quiet "$work/sums"

step "what the disk holds"
image=$(lp volume show text --json | jq -r .volume.lockplate.path)
files_image=$(lp volume show files --json | jq -r .volume.lockplate.path)
head -c 16M "$image" >"$work/header" # cryptsetup would wait until the daemon lets go of the image
offset=$(cryptsetup luksDump --dump-json-metadata "$work/header" | jq -r '.segments["0"].offset')
magic() { od -An -tx1 -j "$(($2 + 1080))" -N2 "$1" | tr -d ' \n'; }
hits=$(grep -c -a -F -- "${text:0:16}" "$image")
proof "0 hits of the text in the backing file (found $hits), 1 and more through NBD" \
  test "$hits" = 0 -a "$(nbdcopy "$(uri text)" - | grep -c -a -F -- "${text:0:16}")" -gt 0
below=$(magic "$files_image" "$offset")
proof "ext4's magic 53ef through NBD, $below in its place in the backing file" \
  test "$(magic "$work/copy" 0)" = 53ef -a "${#below}" = 4 -a "$below" != 53ef
bits=$(tail -c +$((offset + 1)) "$image" | head -c $((2 << 20)) | entropy)
proof "entropy $bits bits in a byte of it, $(head -c $((2 << 20)) "$work/text" | entropy) in the text" awk -v b="$bits" 'BEGIN { exit !(b >= 7.999) }'

step "kill -9, start again"
before="$(read_volume text) $(read_volume files)"
{ kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null
started=$(date +%s%N)
serve
note "answering again after $((($(date +%s%N) - started) / 1000000)) ms"
after="$(read_volume text) $(read_volume files)"
proof "both volumes have the same sha256 (${before:0:12}…, ${before:65:12}…)" test "$before" = "$after"

step "metrics"
curl -sS --unix-socket "$work/metrics.sock" http://localhost/metrics >"$keep/metrics.txt"
for m in lockplate_build_info lockplate_volume_size_bytes lockplate_volume_read_bytes_total lockplate_nbd_connections; do
  grep -m1 "^$m" "$keep/metrics.txt" | sed 's/^/      /'
done
proof "bytes read are counted" grep -qE '^lockplate_volume_read_bytes_total.* [1-9]' "$keep/metrics.txt"
proof "healthz says so" curl -sSf --unix-socket "$work/metrics.sock" http://localhost/healthz

step "the master key moves to a KMIP key server (PyKMIP), while fio writes and verifies"
port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
trust() {
  lp kmip keypair --common-name lockplate && lp kmip csr >"$work/csr.pem" &&
    "${kmip[@]}" 0 "$work/csr.pem" "$work/client.crt" >/dev/null
}
proof "a key server answers on loopback" key_server
proof "key pair, request, certificate signed by the key server's authority" trust
proof "key server described" lp kmip server create --name pykmip --host 127.0.0.1 --port "$port" \
  --ca-file "$work/kmip/ca.crt" --cert-file "$work/client.crt"
proof "key provider made" lp kmip provider create pykmip
proof "its server is seen to work" lp kmip provider add-server 1 1
proof "the provider's test proves reach, trust and function" lp kmip provider test 1
ciphertext() { tail -c +$((offset + 1)) "$image" | sha; }
before=$(ciphertext)
fio --name=verify --ioengine=nbd --uri="$(uri files)" --rw=randwrite --bs=4k --iodepth=16 --thread --size=48M --offset=8M --runtime=4 --time_based \
  --verify=sha256 --verify_fatal=1 --do_verify=1 --verify_state_save=0 --output="$keep/fio.txt" >/dev/null 2>&1 &
fiopid=$!
lp key rekey --provider 1 --wait --json >"$work/rekey" 2>&1
jq -c '.result | {keyToDecommission, newKey, state, operation}' "$work/rekey" 2>/dev/null | sed 's/^/      /'
proof "the rekey ended Ready, from internal to external" jq -e \
  '.status == "complete" and .result.state == "Ready" and .result.keyToDecommission.keyManagementType == "internal" and .result.newKey.keyManagementType == "external"' "$work/rekey"
wait "$fiopid"
proof "fio verified throughout" test $? = 0
proof "not a byte of the container's data area changed" test "$before" = "$(ciphertext)"
lp key status --json >"$work/key"
proof "the key is external, at provider 1" jq -e '.masterKeyInfo | .keyManagementType == "external" and .keyProviderID == 1' "$work/key"

step "the key server is away at a start: locked, a fault, and healed by itself"
before="$(read_volume text) $(read_volume files)"
kill "$keyserver"
wait "$keyserver" 2>/dev/null
keyserver=''
proof "a running volume does not notice" qemu-io -f raw -c 'read 0 65536' "$(uri text)"
{ kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null
serve
state_is() { test "$(lp volume show text --json | jq -r .volume.lockplate.state)" = "$1"; }
fault() { lp fault list | grep -q kmipServerFault; }
proof "the volumes are locked" state_is locked
proof "a fault says so" fault
lp fault list | sed 's/^/      /' | cut -c1-160
key_server
started=$(date +%s%N)
proof "they unlock by themselves once it is back" until_true 60 state_is online
note "after $((($(date +%s%N) - started) / 1000000)) ms"
proof "the fault clears" until_true 10 refused fault
after="$(read_volume text) $(read_volume files)"
proof "both volumes have the same sha256" test "$before" = "$after"

step "the exit without lockplate (cryptsetup, OpenSSL)"
sector=17
nbdcopy "$(uri text)" "$work/served"
kill -TERM "$daemon"
wait "$daemon"
stopped=$?
daemon=''
proof "the daemon stopped with exit code 0" test "$stopped" = 0
proof "cryptsetup opens the container by the recovery passphrase" cryptsetup open --test-passphrase --key-file "$work/recovery" "$image"
echo -n wrong >"$work/wrong"
cryptsetup open --test-passphrase --key-file "$work/wrong" "$image" 2>/dev/null
proof "and not by another one (exit code 2: no key with this passphrase)" test $? = 2
proof "cryptsetup reveals the volume key to its owner" cryptsetup luksDump --batch-mode --dump-volume-key \
  --volume-key-file "$work/volume.key" --key-file "$work/recovery" "$image"
# the first 512 bytes of a 4096-byte sector are those of a 512-byte one with the same tweak
tail -c +$((offset + sector * 4096 + 1)) "$image" | head -c 512 | decrypt_sector "$work/volume.key" $((sector * 8)) >"$work/outside"
tail -c +$((sector * 4096 + 1)) "$work/served" | head -c 512 >"$work/inside"
note "$(head -c 52 "$work/outside" | tr '\n' ' ')…"
same() { test "$(stat -c %s "$work/outside")" = 512 && cmp "$work/outside" "$work/inside"; }
proof "sector $sector decrypted by OpenSSL alone equals what NBD returned" same

step "speed beside nbdkit's luks filter (same client, same minute)"
speed() {
  "$lockplate" bench gateway --targets 'lockplate,lockplate plain,nbdkit luks' --jobs seqr1m,seqw1m,rr4k,rw4k \
    --base 'nbdkit luks' --rounds 2 --seconds 0.7 --size 128M >"$keep/bench.txt"
}
proof "measured" speed
sed '1,2d; s/^/      /' "$keep/bench.txt"

printf '\n%d of %d proofs held, %d s\n' $((proofs - failures)) "$proofs" $((SECONDS - began))
[[ $failures = 0 ]]
