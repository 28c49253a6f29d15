#!/bin/sh
# The one-shot service: makes every secret on first start, and hands each service its own part. What is there
# already stays, so that it may run at each `docker compose up`.
set -eu
umask 077

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

# Passwords of the accounts, and the server's certificate, signed by an authority that is made as well.
locution prepare --server prosody --server 127.0.0.1 --json > /tmp/prepared
path() { python -c 'import json, sys
print(*(each["path"] for each in map(json.loads, open("/tmp/prepared")) if each["what"] == sys.argv[1]))' "$1"; }

# A service sees the new file or the old one, never a part.
put() { cat > "$1.new" && mv "$1.new" "$1"; }

put /volumes/prosody/server.pem < "$(path certificate)"
put /volumes/prosody/ca.pem < "$(path authority)"
put /state/ca.pem < "$(path authority)"
python -c 'import json, sys
for name, password in json.load(open(sys.argv[1])).items(): print(name, password)' "$(path passwords)" \
    | put /volumes/accounts/accounts

[ -s /volumes/redis/password ] || random | put /volumes/redis/password
password=$(cat /volumes/redis/password)
echo "requirepass $password" | put /volumes/redis/redis.conf
echo "redis://:$password@redis:6379/0" | put /state/redis

[ -s /volumes/grafana/password ] || random | put /volumes/grafana/password
echo "secrets are made"
