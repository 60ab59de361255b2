#!/bin/bash
# Captures what a real server's pgoutput sends for each script here, as PostgreSQL's own binary COPY of (lsn, data).
#
#   tests/corpus/capture.sh /usr/lib/postgresql/15/bin pg15
#   TAILWATER_BLESS=1 cargo test --test hermetic corpus        # writes the .golden files; review them as a diff
#
# The first line of a script holds the plugin's options; `-- since N` in the second one leaves older servers out.
# `-- also NAME [since N]: OPTIONS` takes down the same transactions once more. SCRIPTS="name .." does only these.
# psql is found in the same folder or on PATH. The server may not run as root: use setpriv or su there.
set -euo pipefail
bin=$1 here=$(cd "$(dirname "$0")" && pwd) out=$2
work=$(mktemp -d)
psql=$bin/psql; [ -x "$psql" ] || psql=$(command -v psql)
stop() { "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"; }
trap stop EXIT
"$bin/initdb" -D "$work/data" -U postgres -A trust --locale=C --encoding=UTF8 -N >/dev/null
cat >>"$work/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work'
wal_level = logical
max_prepared_transactions = 5
logical_decoding_work_mem = 64kB
autovacuum = off
fsync = off
CONF
"$bin/pg_ctl" -D "$work/data" -l "$work/log" -w start >/dev/null
major=$(sed 's/[^0-9].*//' "$work/data/PG_VERSION")
mkdir -p "$here/$out"
take() {
    "$psql" -X -q -h "$work" -U postgres -d "$1" -v ON_ERROR_STOP=1 -c "COPY (SELECT lsn, data FROM
        pg_logical_slot_peek_binary_changes('$1', NULL, NULL, 'publication_names', 'corpus', $3))
        TO STDOUT (FORMAT binary)" >"$here/$out/$2.bin"
    echo "$out/$2.bin: $(stat -c %s "$here/$out/$2.bin") bytes"
}
for script in "$here"/*.sql; do
    name=$(basename "$script" .sql)
    [[ -z "${SCRIPTS:-}" || " $SCRIPTS " == *" $name "* ]] || continue
    since=$(sed -n '2s/^-- since //p' "$script")
    [ "$major" -ge "${since:-0}" ] || continue
    "$psql" -X -q -h "$work" -U postgres -d postgres -c "CREATE DATABASE \"$name\""
    "$psql" -X -q -h "$work" -U postgres -d "$name" -v ON_ERROR_STOP=1 -f "$script" >/dev/null
    take "$name" "$name" "$(sed -n '1s/^-- //p' "$script")"
    sed -n 's/^-- also \([a-z]*\)\( since \([0-9]*\)\)\{0,1\}: /\1|\3|/p' "$script" | while IFS='|' read -r as since options; do
        if [ "$major" -ge "${since:-0}" ]; then take "$name" "${name}_$as" "$options"; fi
    done
    "$psql" -X -q -h "$work" -U postgres -d "$name" -c "SELECT pg_drop_replication_slot('$name')" >/dev/null
done
