#!/bin/sh
# Installs the .deb in a guest and runs the unit under systemd, from start to purge:
#   cargo xtask vm 6.12 -- sh "$PWD/rsttrace/packaging/check-service.sh" "$PWD"/target/dist/out/rsttrace_*_amd64.deb
set -eu
if [ ! -e /vm/settings ]; then
    echo "this starts systemd: run it in a guest of \`cargo xtask vm\`" >&2
    exit 2
fi

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager -l rsttrace
    exit 1
}

until_true() { # WHAT COMMAND...
    what=$1 tries=90
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "$what"
        sleep 1
    done
}

# Below, inside of systemd.
inside() {
    # The index of man pages takes minutes in a guest.
    dpkg --no-triggers --install "$1"
    systemctl is-active rsttrace && fail 'the installation started the service'
    systemctl start rsttrace
    show() { systemctl show --value -p "$1" rsttrace; }
    [ "$(show Type)" = notify ] && [ "$(show ActiveState)" = active ] || fail 'not started'

    # In a namespace that is younger than the trace.
    ip netns add young
    ip netns exec young ip link set lo up
    refused() {
        ip netns exec young python3 -c 'import socket; socket.socket().connect_ex(("127.0.0.1", 9))'
        rsttrace history --noise --port 9 | grep -q "no listener on port 9"
    }
    until_true 'the reset is not in the history' refused
    journalctl -u rsttrace -o cat | grep -q 'no listener on port 9' || fail 'the reset is not in the journal'
    journalctl RSTTRACE_CAUSE=port_closed RSTTRACE_LOCAL_PORT=9 -o cat | grep -q 'port 9' || fail 'the entry has no fields'
    counted() { show StatusText | grep -q '^[1-9][0-9]* resets'; }
    until_true 'the status does not count' counted

    kill -STOP "$(show MainPID)"
    restarted() { [ "$(show NRestarts)" = 1 ]; }
    until_true 'the watchdog does not restart a stalled service' restarted
    active() { [ "$(show ActiveState)" = active ]; }
    until_true 'not active after the restart' active

    systemctl stop rsttrace
    [ "$(show Result)" = success ] || fail 'the stop failed'
    journalctl -u rsttrace -o cat | grep -q 'no events lost' || fail 'no summary in the journal'
    dpkg --no-triggers --purge rsttrace
    for left in /usr/bin/rsttrace /etc/rsttrace /var/lib/rsttrace /usr/lib/systemd/system/rsttrace.service; do
        [ ! -e "$left" ] || fail "$left is left after the purge"
    done
    echo passed
}

if [ "${2:-}" = inside ]; then
    inside "$1"
    exit
fi
cat >/etc/systemd/system/check.service <<E
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh $(realpath "$0") $(realpath "$1") inside
ExecStopPost=/usr/bin/systemctl --force --force poweroff
StandardOutput=file:/vm/check.out
StandardError=inherit
E
printf '[Unit]\nWants=check.service basic.target\n' >/etc/systemd/system/check.target
unshare --mount --pid --fork --mount-proc /lib/systemd/systemd --unit=check.target --log-target=journal --show-status=no || true
cat /vm/check.out
grep -qx passed /vm/check.out
