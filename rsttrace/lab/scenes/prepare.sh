# What scenes share. Runs in an empty folder, $SHARED of the scenes. With the argument `web`, only what web servers need.
set -eu
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin

openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=server 2>/dev/null
cat cert.pem key.pem >both.pem
# More than any receive buffer holds, and less.
truncate -s 1G large
head -c 2000000 /dev/zero >small
if [ "${1-}" = web ]; then
    exit
fi
ssh-keygen -q -t ed25519 -N '' -f host_key

# Data directories, owned by the servers' users: made where those users may go, and copied from here.
# shellcheck disable=SC2016
unshare --mount sh -euc '
    mount -t tmpfs none /mnt
    mkdir /mnt/postgres
    chown postgres: /mnt/postgres
    initdb=$(ls /usr/lib/postgresql/*/bin/initdb | tail -n 1)
    (cd /mnt && setpriv --reuid postgres --regid postgres --clear-groups \
        "$initdb" -D /mnt/postgres -A trust -U postgres --no-sync >/dev/null)
    echo "host all all 0.0.0.0/0 trust" >>/mnt/postgres/pg_hba.conf
    cp -a /mnt/postgres .
' &
postgres=$!
# shellcheck disable=SC2016
unshare --mount sh -euc '
    mount -t tmpfs none /mnt
    mkdir -p /mnt/mysql
    chown mysql: /mnt/mysql
    mariadb-install-db --no-defaults --user=mysql --datadir=/mnt/mysql --skip-test-db \
        --auth-root-authentication-method=normal >/dev/null
    cp -a /mnt/mysql .
' &
mysql=$!
wait $postgres
wait $mysql
