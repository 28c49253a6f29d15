#!/bin/sh
# Makes the accounts of Prosody: one line "NAME PASSWORD" each, from the service `setup`. An account that is
# there already gets the password of the line.
set -eu
while read -r name password; do
    prosodyctl register "$name" localhost "$password" > /dev/null
done < /run/secrets/accounts
echo "$(wc -l < /run/secrets/accounts) accounts are made"
