#!/bin/bash
# Opens a LUKS container with a real kernel, without lockplate: in a throw-away QEMU guest, cryptsetup and dm-crypt open
# the image with its passphrase, the ext4 file system in it is checked and mounted, and every file is hashed.
# Written for this project.
#
#   vm_dm_crypt.sh IMAGE PASSPHRASE-FILE SUMS     prints one "CHECK name ok|FAIL detail" line a check, then PASS or FAIL
#
# SUMS is the output of sha256sum over the files, with names relative to the root of the file system. IMAGE is opened
# read-only. With LUKS_HEADER=FILE the header is detached. Needs what vm_nbd_attach.sh needs, and cryptsetup.
# Exit status: 0 PASS, 1 FAIL, 2 could not run.
# shellcheck source-path=SCRIPTDIR source=vm_lib.sh
. "$(dirname "$0")/vm_lib.sh"
cat >"$WORK/init" <<'INIT'
#!/bin/busybox sh
. /start
mkdir -p /run/cryptsetup
D=/dev/vda; H=$D; [ -e /files/header ] && H=/files/header
[ -b $D ]; t $? attach "$(cat /sys/block/vda/size) sectors"
O="--header $H"; [ $H = $D ] && O=
cryptsetup luksDump $H >/tmp/dump 2>&1; t $? luks-dump "$(grep -m1 Version /tmp/dump | tr -d '\t')"
cryptsetup open --readonly $O --key-file /files/passphrase $D data >/tmp/log 2>&1; t $? open "$(up0)s $(tail -1 /tmp/log)"
# readlink: dm-crypt may be reached by a link that only udev would make
M=/dev/mapper/data; [ -e $M ] || M=/dev/dm-0
cryptsetup status data >/tmp/status 2>&1; t $? status "$(grep -E 'cipher|keysize|sector size' /tmp/status | tr -s ' \n' ' ')"
e2fsck -fn $M >/tmp/fsck 2>&1; t $? fsck "$(tail -1 /tmp/fsck)"
mount -t ext4 -o ro,noload $M /mnt >/tmp/log 2>&1; t $? mount "$(head -1 /tmp/log)"
n=$(wc -l < /files/sums); [ "$n" -gt 0 ] && (cd /mnt && sha256sum -c --quiet /files/sums >/tmp/sc 2>&1); t $? file-hashes "$n files $(head -2 /tmp/sc)"
umount /mnt; cryptsetup close data; t $? close
echo "RESULT END $(up0)s"; poweroff -f
INIT

VM_DISK=$(readlink -f "${1:?usage: $0 IMAGE PASSPHRASE-FILE SUMS}")
vm_prepare
mkdir -p "$R/files"
cp "${2:?passphrase file}" "$R/files/passphrase"
cp "${3:?sums}" "$R/files/sums"
[ -z "${LUKS_HEADER:-}" ] || cp "$LUKS_HEADER" "$R/files/header"
vm_params "NAME=dm-crypt"
vm_boot "$WORK/init"
vm_verdict
