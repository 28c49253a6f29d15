#!/usr/bin/env bash
# Writes the Secrets that the pods refer to on standard output, with new passwords and a new certificate:
#     deploy/kubernetes/secrets.sh | kubectl apply -f -
# Once is enough: a second run makes others, and Prosody, Redis and the agents have to be started anew.
set -euo pipefail
readonly NAMESPACE=locution DOMAIN=locution.internal COORDINATORS=3 LEARNERS=8
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077
cd "$folder"

random() { openssl rand -hex 24; }
encoded() { base64 -w 0 < "$1"; }

# Begins a Secret of this name and type; the lines of its data follow.
secret() { printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ntype: %s\n' "$1" "$NAMESPACE" "$2"; }

# An authority of the society's own, which every agent verifies Prosody against. Its key is kept nowhere.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$DOMAIN authority" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign' \
    -keyout ca.key -out ca.crt 2> log || { cat log >&2; exit 1; }
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$DOMAIN" -keyout tls.key -out tls.csr 2> log \
    || { cat log >&2; exit 1; }
printf 'subjectAltName=DNS:%s\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n' "$DOMAIN" > extensions
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1825 -extfile extensions -out tls.crt 2> log \
    || { cat log >&2; exit 1; }

secret prosody-tls kubernetes.io/tls
printf 'data:\n  ca.crt: %s\n  tls.crt: %s\n  tls.key: %s\n' "$(encoded ca.crt)" "$(encoded tls.crt)" "$(encoded tls.key)"

secret redis-auth Opaque
printf 'stringData:\n  password: "%s"\n' "$(random)"

secret consul-gossip Opaque
printf 'stringData:\n  key: "%s"\n' "$(openssl rand -base64 32)"

secret directory-account Opaque
printf 'stringData:\n  LOCUTION_PASSWORD_DIRECTORY: "%s"\n' "$(random)"

secret operator-account Opaque
printf 'stringData:\n  LOCUTION_PASSWORD_OPERATOR: "%s"\n' "$(random)"

secret coordinator-accounts Opaque
echo 'stringData:'
for ((n = 0; n < COORDINATORS; n++)); do printf '  LOCUTION_PASSWORD_COORDINATOR_%d: "%s"\n' "$n" "$(random)"; done

secret learner-accounts Opaque
echo 'stringData:'
for ((n = 0; n < LEARNERS; n++)); do printf '  LOCUTION_PASSWORD_LEARNER_%d: "%s"\n' "$n" "$(random)"; done
