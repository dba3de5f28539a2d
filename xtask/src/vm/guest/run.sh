# Runs the steps of a guest, as process 1. Their output goes to files that the host reads.
. /vm/settings

# Also if the host has stopped waiting.
(sleep "$lifetime"; echo "vm: $lifetime s are over"; echo b >/proc/sysrq-trigger) &

export vm=/vm PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
for folder in /run /tmp; do
    # The repository itself may be there.
    case $workspace/ in $folder/*) continue ;; esac
    case $modules/ in $folder/*) continue ;; esac
    mount -t tmpfs -o mode=1777 tmpfs $folder
done
mkdir -p /run/lock /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd

mkdir -p "/lib/modules/$release"
mount --bind "$modules" "/lib/modules/$release"
cp /vm/rsttrace /usr/local/bin/
hostname guest
ip link set lo up
ulimit -Hn 524288

cd "$workspace" || echo "vm: $workspace is not there"
while read -r step limit; do
    : >"/vm/$step.started"
    # In another session: this shell is process 1, and must survive.
    step=$step setsid -w timeout -k 5 "$limit" sh "/vm/$step.step" >"/vm/$step.out" 2>"/vm/$step.err" </dev/null
    echo $? >"/vm/$step.code.new"
    mv "/vm/$step.code.new" "/vm/$step.code"
done </vm/steps
echo b >/proc/sysrq-trigger
