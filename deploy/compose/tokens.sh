#!/bin/sh
# Makes the tokens of a fleet in docker-compose.yml, once: one for whoever operates it, one for its workers, and the file of what
# they hash to, which is all that the event store and the admin API are given.
#
#   deploy/compose/tokens.sh /run/fleet/tokens /run/operator/token /run/worker/token
#
# Runs as root, because a new volume is root's, and hands each file to the user that the image runs as. `fleet token` makes tokens
# of the same kind, but the image has no shell to put them anywhere.
set -eu
umask 377
hashes=$1 operator=$2 worker=$3
[ ! -s "$hashes" ] || { echo 'the tokens are there'; exit 0; }

# put FILE: what comes in, readable by the roles alone. The file is there whole or not at all.
put() {
    rm -f "$1.new"
    cat >"$1.new"
    chown 65532:65532 "$1.new"
    mv -f "$1.new" "$1"
}

# make NAME FILE: a token of 256 random bits into the file; prints the line of its hash.
make() {
    token=fleet_$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
    [ "${#token}" = 70 ] || { echo 'there are no random bytes' >&2; exit 1; }
    printf '%s\n' "$token" | put "$2"
    printf '%s %s\n' "$1" "$(printf %s "$token" | sha256sum | cut -d ' ' -f 1)"
}

lines=$(make operator "$operator" && make worker "$worker")
# Last, because the others count only with it.
printf '%s\n' "$lines" | put "$hashes"
echo 'the tokens are made'
