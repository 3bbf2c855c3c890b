#!/bin/bash
# Attach a real Linux kernel (nbd.ko + nbd-client) to an NBD server that listens on this host's loopback, inside a
# throw-away QEMU guest, and use the device as a person would: raw I/O, ext4, fsck, detach, re-attach, several
# connections, discard, write-zeroes, and (asked for) a server restart under a mounted file system.
# Written for this project; it drives any NBD server.
#
#   vm_nbd_attach.sh PORT [EXPORT]          prints one "CHECK name ok|FAIL|skip detail" line a check, then PASS or FAIL
#   vm_nbd_attach.sh --prepare              only fetch the kernel and build the initramfs (so the next run is quick)
#
# Environment (all optional; vm_lib.sh has more):
#   EXPECT_SIZE=BYTES       the size that the guest must see
#   CONNS=4                 connections in the multi-connection check
#   NBD_CLIENT_OPTS=...     more options for nbd-client (e.g. -cacertfile /files/ca.pem -certfile ... -keyfile ...)
#   GUEST_FILES=DIR         copied to /files in the guest (certificates)
#   GUEST_ATTACH=...        use this command in the guest, not nbd-client, to attach: %h host %p port %e export %d device
#                           %i device number %c connections are put in; it comes back with 0 when the device is up
#   GUEST_DETACH=...        likewise to detach (default: nbd-client -d %d)
#   RESTART_CMD=...         run on the host when the guest holds a mounted file system with writes under way: it must
#                           end the server and start it again on the same port. With GUEST_ATTACH every write must come
#                           through (transparent reconnect). With nbd-client (-persist, ioctl) the outage may fail
#                           writes; the device must come back (attached again by hand if nbd-client gave up), and every
#                           file fsync'ed before the outage must be intact.
#   BENCH_MB=64             MiB moved by the (informational) dd timings
# The data in the export is overwritten. Needs: qemu-system-x86_64, nbd-client, e2fsprogs, util-linux, cpio, gzip, and
# (first run) apt-get download. Nothing is installed on the host. Exit status: 0 PASS, 1 FAIL, 2 could not run.
# shellcheck source-path=SCRIPTDIR source=vm_lib.sh
. "$(dirname "$0")/vm_lib.sh"
cat > "$WORK/init" <<'INIT'
#!/bin/busybox sh
. /start
insmod /lib/mods/nbd.ko nbds_max=4 || echo "CHECK nbd-module FAIL"
ip link set lo up; ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up
D=/dev/nbd0; Q=/sys/block/nbd0/queue
wait_size() { i=0; while [ "$(cat /sys/block/nbd0/size)" = 0 ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; [ "$(cat /sys/block/nbd0/size)" != 0 ]; }
fill() { echo "$1" | sed -e "s#%h#10.0.2.2#g; s#%p#$PORT#g; s#%e#$EXPORT#g; s#%d#$D#g; s#%i#0#g; s#%c#$2#g"; }
attach() { c=1; [ "$1" = -C ] && c=$2
  if [ -n "$GATT" ]; then sh -c "$(fill "$GATT" $c)" >/tmp/att.log 2>&1; rc=$?; else nbd-client 10.0.2.2 $PORT $D -N "$EXPORT" $OPTS "$@" >/tmp/att.log 2>&1; rc=$?; fi
  [ $rc -eq 0 ] && { wait_size; rc=$?; }; [ $rc -ne 0 ] && { tail -5 /tmp/att.log; echo; }; return $rc; }
detach() { if [ -n "$GDET" ]; then sh -c "$(fill "$GDET" 1)" >/tmp/det.log 2>&1; rc=$?; else nbd-client -d $D >/tmp/det.log 2>&1; rc=$?; fi
  i=0; while [ "$(cat /sys/block/nbd0/size)" != 0 ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; [ "$(cat /sys/block/nbd0/size)" != 0 ] && rc=9; return $rc; }
drop() { sync; echo 3 > /proc/sys/vm/drop_caches; }
sum() { dd if=$D bs=64k skip=$1 count=$2 iflag=direct status=none | sha256sum | cut -c1-16; }
nums() { sed -n 's/.*copied, //p' /tmp/dd.log; }

attach; t $? attach "$(cat /tmp/att.log | tr '\n' ' ' | tail -c 120)"
if [ "$(cat /sys/block/nbd0/size)" = 0 ]; then echo "RESULT FAIL"; poweroff -f; fi
SZ=$(( $(cat /sys/block/nbd0/size) * 512 ))
if [ -n "$EXPECT_SIZE" ]; then [ "$SZ" = "$EXPECT_SIZE" ]; t $? size "$SZ"; else ok size "$SZ"; fi
echo "INFO ro=$(cat /sys/block/nbd0/ro) lbs=$(cat $Q/logical_block_size) pbs=$(cat $Q/physical_block_size) io_min=$(cat $Q/minimum_io_size) io_opt=$(cat $Q/optimal_io_size) max_kb=$(cat $Q/max_sectors_kb) cache=$(cat $Q/write_cache | tr ' ' _) fua=$(cat $Q/fua) discard_max=$(cat $Q/discard_max_bytes) wz_max=$(cat $Q/write_zeroes_max_bytes)"
if [ "$(cat /sys/block/nbd0/ro)" = 1 ]; then
  dd if=$D of=/dev/null bs=1M count=8 iflag=direct 2>/tmp/dd.log; t $? ro-read "$(nums)"
  dd if=/dev/zero of=$D bs=4k count=1 oflag=direct 2>/dev/null; [ $? -ne 0 ]; t $? ro-write-refused
  detach; t $? detach; echo "RESULT END"; poweroff -f
fi
# raw data, every 64 KiB differs; read back past the page cache
dd if=/dev/urandom of=/tmp/pat bs=64k count=256 status=none; P=$(sha256sum < /tmp/pat | cut -c1-16)
dd if=/tmp/pat of=$D bs=64k seek=16 oflag=direct conv=fsync status=none; r=$?; [ $r -eq 0 ] && [ "$(sum 16 256)" = "$P" ]; t $? raw-write-read "16 MiB"
# odd places: 512-byte sectors and a 4 KiB block across a 64 KiB border
dd if=/tmp/pat of=$D bs=512 seek=2049 count=3 oflag=direct conv=notrunc status=none; r=$?
a=$(dd if=/tmp/pat bs=512 count=3 status=none | sha256sum); b=$(dd if=$D bs=512 skip=2049 count=3 iflag=direct status=none | sha256sum)
[ $r -eq 0 ] && [ "$a" = "$b" ]; t $? raw-512-sectors
dd if=$D of=/dev/null bs=512 skip=$((SZ/512-1)) count=1 iflag=direct status=none; t $? last-sector-read
dd if=/tmp/pat of=$D bs=512 seek=$((SZ/512-1)) count=1 oflag=direct status=none; t $? last-sector-write
# discard and write zeroes
if [ "$(cat $Q/discard_max_bytes)" -gt 0 ]; then
  blkdiscard -f -o $((16*65536)) -l $((64*65536)) $D; t $? discard
  [ "$(sum 80 192)" = "$(dd if=/tmp/pat bs=64k skip=64 status=none | sha256sum | cut -c1-16)" ]; t $? discard-neighbours
else skip discard "not offered"; fi
dd if=/tmp/pat of=$D bs=64k seek=16 oflag=direct status=none
blkdiscard -f -z -o $((16*65536+4096)) -l 12288 $D >/tmp/z.log 2>&1; r=$?; z=$(dd if=$D bs=4k skip=257 count=3 iflag=direct status=none | tr -d '\000' | wc -c)
[ $r -eq 0 ] && [ "$z" = 0 ]; t $? write-zeroes "rest=$z rc=$r offered=$(cat $Q/write_zeroes_max_bytes) $(cat /tmp/z.log)"
e=$(dd if=$D bs=4k skip=256 count=1 iflag=direct status=none | sha256sum); f=$(dd if=/tmp/pat bs=4k count=1 status=none | sha256sum); [ "$e" = "$f" ]; t $? write-zeroes-neighbours
# a file system
mkfs.ext4 -q -F $D; t $? mkfs
mount -t ext4 $D /mnt; t $? mount
mkdir /mnt/d; i=0; while [ $i -lt 200 ]; do dd if=/tmp/pat of=/mnt/d/$i bs=4k skip=$i count=$((1 + i % 9)) status=none; i=$((i+1)); done; cp /tmp/pat /mnt/big
for n in 3 33 133; do rm /mnt/d/$n; done; mv /mnt/d/7 /mnt/d/seven
(cd /mnt && find . -type f | sort | xargs /bin/sha256sum.real > /tmp/sums); sync; t $? files "$(wc -l < /tmp/sums) files"
fstrim -v /mnt >/tmp/trim.log 2>&1 && ok fstrim "$(tail -c 60 /tmp/trim.log)" || skip fstrim "$(tail -c 60 /tmp/trim.log)"
drop; (cd /mnt && sha256sum -c --status /tmp/sums); t $? files-read-back
umount /mnt; t $? umount
e2fsck -fn $D >/tmp/fsck.log 2>&1; t $? fsck
detach; t $? detach
attach; t $? re-attach
mount -t ext4 -o ro $D /mnt && (cd /mnt && sha256sum -c --quiet /tmp/sums >/tmp/sc.log 2>&1); t $? files-after-re-attach "$(head -3 /tmp/sc.log | tr '\n' ' ')"
umount /mnt; detach; t $? detach-2
# several connections
attach -C $CONNS; r=$?; n=$(netstat -tn | grep -c ":$PORT .*ESTABLISHED"); [ $r -eq 0 ] && [ "$n" -ne "$CONNS" ] && r=8; t $r attach-multi-conn "$n of $CONNS connections"
if [ $r -eq 0 ]; then
  p=""; for j in 0 1 2 3; do dd if=/tmp/pat of=$D bs=64k seek=$((1024 + j*256)) oflag=direct conv=notrunc status=none & p="$p $!"; done
  r=0; for x in $p; do wait $x || r=1; done; g=0; for j in 0 1 2 3; do [ "$(sum $((1024 + j*256)) 256)" = "$P" ] || g=1; done
  [ $r -eq 0 ] && [ $g -eq 0 ]; t $? multi-conn-data
  dd if=/dev/zero of=$D bs=1M seek=64 count=$MB oflag=direct conv=fsync,notrunc 2>/tmp/dd.log; echo "INFO dd-write-direct $(nums)"
  dd if=$D of=/dev/null bs=1M skip=64 count=$MB iflag=direct 2>/tmp/dd.log; echo "INFO dd-read-direct $(nums)"
  mkfs.ext4 -q -F $D && mount -t ext4 $D /mnt && cp /tmp/pat /mnt/x && sync && drop && [ "$(sha256sum < /mnt/x | cut -c1-16)" = "$P" ]; t $? multi-conn-ext4
  umount /mnt; e2fsck -fn $D >/tmp/fsck.log 2>&1; t $? multi-conn-fsck; detach
fi
# the server goes away and comes back under a mounted file system
if [ -n "$RESTART" ]; then
  if [ -n "$GATT" ]; then attach; else nbd-client -nonetlink 10.0.2.2 $PORT $D -N "$EXPORT" $OPTS -persist -timeout 60 >/tmp/att.log 2>&1 & sleep 1; wait_size; fi
  t $? attach-for-restart
  mkfs.ext4 -q -F $D && mount -t ext4 $D /mnt; t $? restart-mount
  ( i=0; while [ $i -lt 300 ]; do dd if=/tmp/pat of=/mnt/r$i bs=4k skip=$i count=8 conv=fsync status=none || { echo "$i" > /tmp/werr; break; }; i=$((i+1)); echo $i > /tmp/wdone; sleep 0.02; done ) & W=$!
  sleep 1; s=$(up0); b=$(cat /tmp/wdone); echo "HOSTDO restart"; wait $W; n=$(cat /tmp/wdone)
  if [ -n "$GATT" ]; then [ ! -e /tmp/werr ] && [ "$n" = 300 ]; t $? restart-writes-all "$n of 300 files written, $b before the restart, $s to $(up0) s"
  else ok restart-writes "$n of 300 files fsynced, $b before the restart"; umount /mnt; how="by -persist"; alive() { [ "$(dd if=$D bs=4k count=1 iflag=direct status=none 2>/dev/null | wc -c)" = 4096 ]; }
    i=0; while [ $i -lt 40 ] && ! alive; do sleep 0.2; i=$((i+1)); done
    alive || { how="by hand: nbd-client gave up"; nbd-client -nonetlink -d $D >/dev/null 2>&1; sleep 1; attach; }
    alive; t $? restart-device-back "$how"; e2fsck -fy $D >/tmp/fsck.log 2>&1; r=$?; [ $r -le 1 ]; t $? restart-fsck-repair "e2fsck exit $r $(tail -2 /tmp/fsck.log | tr '\n' ' ')"; mount -t ext4 $D /mnt; fi
  drop; g=0; i=0; while [ $i -lt $n ]; do a=$(sha256sum < /mnt/r$i); b=$(dd if=/tmp/pat bs=4k skip=$i count=8 status=none | sha256sum); [ "$a" = "$b" ] || g=$((g+1)); i=$((i+1)); done
  [ $g -eq 0 ]; t $? restart-data "$g of $n wrong"
  umount /mnt; e2fsck -fn $D >/tmp/fsck.log 2>&1; t $? restart-fsck; if [ -n "$GATT" ]; then detach; else nbd-client -nonetlink -d $D >/dev/null 2>&1; fi
fi
echo "RESULT END $(up0)s"
sync; poweroff -f
INIT

vm_prepare
[ "${1:-}" = --prepare ] && { echo "prepared in $CACHE"; exit 0; }
vm_params "PORT=${1:?usage: $0 PORT [EXPORT]}" "EXPORT=${2:-}" "OPTS=${NBD_CLIENT_OPTS:-}" "CONNS=${CONNS:-4}" "MB=${BENCH_MB:-64}" \
  "EXPECT_SIZE=${EXPECT_SIZE:-}" "RESTART=${RESTART_CMD:+1}" "GATT=${GUEST_ATTACH:-}" "GDET=${GUEST_DETACH:-}"
[ -z "${GUEST_FILES:-}" ] || { mkdir -p "$R/files"; cp -r "$GUEST_FILES"/. "$R/files/"; }
vm_boot "$WORK/init"
vm_verdict
