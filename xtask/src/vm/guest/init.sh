#!/bin/busybox sh
# Mounts the root of a guest: the host's, read-only by 9p, below an overlay in memory.
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /host /layer /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

for module in /modules/*.ko; do
    insmod "$module" || echo "vm: $module did not load"
done

mount -t tmpfs tmpfs /layer
mkdir /layer/upper /layer/work
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host &&
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root &&
mkdir -p /root/vm &&
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none exchange /root/vm || {
    echo "vm: the host's files could not be mounted"
    reboot -f
}
for folder in proc sys dev; do
    mount --move /$folder /root/$folder
done
exec switch_root /root /bin/sh /vm/run.sh </dev/console >/dev/console 2>&1
