# What scenes share. Runs in an empty folder, $SHARED of the scenes.
set -eu
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=server 2>/dev/null
cat cert.pem key.pem >both.pem
head -c 20000000 /dev/zero >large
