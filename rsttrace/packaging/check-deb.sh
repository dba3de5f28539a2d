#!/bin/sh
# Installs a package in an empty root directory, runs rsttrace there, and purges it: check-deb.sh PACKAGE ROOT (as root)
# The root has a shell and nothing else, so the binary must be static. Nothing may be left after the purge.
set -eu
package=$1 root=$2

mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
: >"$root/var/lib/dpkg/available"
: >"$root/dev/null"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh rm; do
    ln -s busybox "$root/bin/$applet"
done

# What is in the root; dpkg's own records aside.
contents() {
    (cd "$root" && find . -path ./var/lib/dpkg -prune -o -path ./proc -prune -o -path ./sys -prune -o -print | LC_ALL=C sort)
}
before=$(contents)

dpkg --root="$root" --install "$package"
dpkg --root="$root" --verify rsttrace
[ "$(dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${db:Status-Status}' rsttrace)" = installed ]

# The mounts end with the namespace.
inside() {
    unshare --mount --propagation private sh -c '
        root=$1 && shift
        mount --rbind /proc "$root/proc" && mount --rbind /sys "$root/sys" && mount --rbind /dev "$root/dev"
        exec chroot "$root" "$@"' sh "$root" "$@"
}
inside /usr/bin/rsttrace --version
inside /usr/bin/rsttrace completions bash >/dev/null
inside /usr/bin/rsttrace demo --only linger-zero
# The history of a service that ran, and a changed configuration.
inside /usr/bin/rsttrace watch --store --duration 1s
test -s "$root/var/lib/rsttrace/history.db"
echo '# changed' >>"$root/etc/rsttrace/config.toml"

dpkg --root="$root" --remove rsttrace
grep -q '# changed' "$root/etc/rsttrace/config.toml"
dpkg --root="$root" --purge rsttrace
left=$(contents)
if [ "$left" != "$before" ]; then
    echo "left after the purge:" >&2
    echo "$left" | grep -vxF "$before" >&2
    exit 1
fi
