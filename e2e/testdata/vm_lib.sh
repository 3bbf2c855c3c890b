# shellcheck shell=bash
# Shared by the rigs beside this file: a throw-away QEMU guest with Debian's
# cloud kernel and an initramfs made of the host's own tools. Sourced.
#
#   vm_prepare         kernel, modules and tools into $CACHE, once
#   vm_boot INIT       boots with $R as root file system and INIT as its init,
#                      until the guest prints a line beginning with RESULT, and
#                      runs RESTART_CMD when it prints "HOSTDO restart"
#   vm_verdict         prints the guest's CHECK lines and PASS or FAIL
#
# Environment (all optional): ACCEL=tcg|kvm (a nested kvm may hang or abort, so
# tcg), VM_CACHE=DIR, VM_TIMEOUT=240 seconds, VM_MEM=512 MiB, VM_CPUS=2,
# VM_DISK=FILE (a raw image, the guest's read-only /dev/vda), KEEP_LOG=FILE
# (copy of the guest's console).
set -u
die() { echo "ERROR $*" >&2; exit 2; }

CACHE=${VM_CACHE:-${TMPDIR:-/tmp}/lockplate-vm-1}
WORK=$(mktemp -d) || die "no temporary folder"
R=$WORK/root
QPID=
vm_cleanup() { [ -z "$QPID" ] || kill "$QPID" 2>/dev/null; rm -rf "$WORK"; }
trap vm_cleanup EXIT
VM_TOOLS="nbd-client mkfs.ext4 e2fsck blkdiscard fstrim dd sha256sum cryptsetup"
VM_MODULES="virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net"
VM_MODULES+=" virtio_blk cryptd crypto_simd gf128mul ecb xts aesni-intel af_alg algif_skcipher algif_hash dm-mod dm-crypt"

vm_prepare() {
  local t
  for t in qemu-system-x86_64 cpio gzip ldd flock $VM_TOOLS; do
    command -v "$t" >/dev/null || [ -x "/usr/sbin/$t" ] || die "missing tool: $t"
  done
  mkdir -p "$CACHE" || die "no cache folder"
  exec 9>"$CACHE/lock"
  flock 9
  [ -e "$CACHE/ready" ] || vm_fetch
  exec 9>&-
  cp -a "$CACHE/base" "$R"
}

vm_fetch() {
  local d="$CACHE/dl" r="$CACHE/base" img m t p l
  rm -rf "$d" "$r" "$CACHE/pkg"
  mkdir -p "$d" "$r"/{bin,lib/mods,proc,sys,dev,tmp,mnt,etc,root,run}
  img=$(vm_kernel)
  [ -n "$img" ] || { apt-get update >/dev/null 2>&1; img=$(vm_kernel); }
  [ -n "$img" ] || die "no linux-image-cloud-amd64 in the package lists"
  (cd "$d" && apt-get -q download "$img" busybox-static >/dev/null 2>&1) || die "could not download $img and busybox-static"
  for p in "$d"/*.deb; do dpkg -x "$p" "$CACHE/pkg" || die "could not unpack $p"; done
  cp "$CACHE"/pkg/boot/vmlinuz-* "$CACHE/vmlinuz"
  cp "$CACHE"/pkg/bin/busybox "$r/bin/busybox"
  for m in $VM_MODULES nbd; do find "$CACHE"/pkg/lib/modules -name "$m.ko" -exec cp {} "$r/lib/mods/" \; ; done
  for m in nbd dm-crypt; do [ -e "$r/lib/mods/$m.ko" ] || die "the kernel package has no $m.ko"; done
  for t in $VM_TOOLS; do
    p=$(readlink -f "$(command -v "$t" || echo "/usr/sbin/$t")")
    cp "$p" "$r/bin/$t.real"
    ldd "$p" | grep -o '/[^ ]*' | while read -r l; do mkdir -p "$r$(dirname "$l")"; cp -Ln "$l" "$r$l"; done
  done
  # what the C library loads only when a thread ends
  find /lib /usr/lib -name libgcc_s.so.1 2>/dev/null | head -1 | while read -r l; do mkdir -p "$r$(dirname "$l")"; cp -Ln "$l" "$r$l"; done
  cp /etc/mke2fs.conf "$r/etc/" 2>/dev/null
  echo 'root:x:0:0:root:/root:/bin/sh' >"$r/etc/passwd"
  : >"$r/etc/mtab"
  cat >"$r/start" <<'START'
# Sourced first by every init: applets, the real tools in front of them, the
# usual mounts, modules in an order that insmod can follow.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin
for b in /bin/*.real; do ln -sf "$b" "${b%.real}"; done
dd() { /bin/dd.real "$@"; }; sha256sum() { /bin/sha256sum.real "$@"; }
blkdiscard() { /bin/blkdiscard.real "$@"; }; fstrim() { /bin/fstrim.real "$@"; }
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp; mount -t tmpfs t /run
echo 1 >/proc/sys/kernel/printk
. /params
for pass in 1 2 3; do for m in $MODULES; do insmod /lib/mods/$m.ko 2>/dev/null; done; done
ok() { echo "CHECK $1 ok ${2:-}"; }; bad() { echo "CHECK $1 FAIL ${2:-}"; }; skip() { echo "CHECK $1 skip ${2:-}"; }
t() { if [ "$1" -eq 0 ]; then ok "$2" "${3:-}"; else bad "$2" "${3:-} (rc $1)"; fi; }
up0() { cut -d' ' -f1 /proc/uptime; }
echo "GUEST up $(up0)s kernel $(uname -r)"
START
  rm -rf "$CACHE/pkg" "$d"
  touch "$CACHE/ready"
}

vm_kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1; }

# vm_params NAME=VALUE...: shell variables for the guest's init.
vm_params() {
  local kv
  for kv in "MODULES=$VM_MODULES" "$@"; do printf '%s=%q\n' "${kv%%=*}" "${kv#*=}"; done >"$R/params"
}

vm_qemu() { # accel
  local cpu=max disk=()
  [ "$1" = kvm ] && cpu=host
  [ -z "${VM_DISK:-}" ] || disk=(-drive "if=none,id=d0,format=raw,readonly=on,file.locking=off,file=$VM_DISK" -device "virtio-blk-pci,drive=d0")
  exec qemu-system-x86_64 -M "${MACHINE:-q35}" -accel "$1" -cpu "$cpu" -smp "${VM_CPUS:-2}" -m "${VM_MEM:-512}" -nodefaults -no-user-config \
    -nographic -no-reboot -kernel "$CACHE/vmlinuz" -initrd "$WORK/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off random.trust_cpu=on ${VM_APPEND:-}" \
    -netdev user,id=n0,ipv6=off -device virtio-net-pci,netdev=n0,romfile= "${disk[@]}" -serial "file:$WORK/console" -monitor none -display none
}

vm_boot() {
  local accel=${ACCEL:-tcg} end did='' up='' t0 t1
  install -m755 "$1" "$R/init"
  (cd "$R" && find . | cpio --quiet -o -H newc | gzip -1) >"$WORK/initrd.gz" || die "initramfs"
  : >"$WORK/console"
  t0=$(date +%s.%N)
  (vm_qemu "$accel") >"$WORK/qemu.err" 2>&1 &
  QPID=$!
  end=$((SECONDS + ${VM_TIMEOUT:-240}))
  while kill -0 "$QPID" 2>/dev/null; do
    [ -n "$up" ] || ! grep -q 'GUEST up' "$WORK/console" || up=$(date +%s.%N)
    if [ -z "$did" ] && grep -q 'HOSTDO restart' "$WORK/console"; then did=1; eval "${RESTART_CMD:-true}"; fi
    grep -q '^RESULT' "$WORK/console" && break
    [ $SECONDS -lt $end ] || { echo "CHECK guest FAIL no result within ${VM_TIMEOUT:-240} s"; break; }
    sleep 0.2
  done
  t1=$(date +%s.%N)
  kill "$QPID" 2>/dev/null
  wait "$QPID" 2>/dev/null
  QPID=
  [ -z "${KEEP_LOG:-}" ] || cp "$WORK/console" "$KEEP_LOG"
  awk -v a="$t0" -v b="${up:-0}" -v c="$t1" -v k="$accel" 'BEGIN{printf "INFO accel=%s boot=%.1fs total=%.1fs\n", k, b ? b-a : -1, c-a}'
}

vm_verdict() {
  local c
  c=$(tr -d '\r' <"$WORK/console")
  grep -E '^(CHECK|INFO|GUEST)' <<<"$c" || { echo "no output from the guest:"; tail -n 5 "$WORK/qemu.err" "$WORK/console"; }
  if grep -q '^RESULT END' <<<"$c" && ! grep -q '^CHECK [^ ]* FAIL' <<<"$c" && grep -q '^CHECK attach ok' <<<"$c"; then echo PASS; exit 0; fi
  echo FAIL
  exit 1
}
