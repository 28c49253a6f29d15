#!/bin/sh
# Gives every account whose password is in the environment that password, in Prosody's data folder.
# LOCUTION_PASSWORD_LEARNER_0 is the password of learner-0.
set -eu
for variable in $(env | sed -n 's/^\(LOCUTION_PASSWORD_[A-Z0-9_]*\)=.*/\1/p' | sort); do
    account=$(printf '%s' "${variable#LOCUTION_PASSWORD_}" | tr 'A-Z_' 'a-z-')
    prosodyctl --config "$CONFIG" register "$account" "$DOMAIN" "$(printenv "$variable")"
    echo "$account@$DOMAIN"
done
