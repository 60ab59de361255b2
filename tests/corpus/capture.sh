#!/bin/bash
# Captures what a real server's pgoutput sends for each script here, as PostgreSQL's own binary COPY of (lsn, data).
#
#   tests/corpus/capture.sh /usr/lib/postgresql/15/bin pg15
#   TAILWATER_BLESS=1 cargo test --test hermetic corpus        # writes the .golden files; review them as a diff
#
# The first line of a script holds the plugin's options; `-- since N` in the second one leaves older servers out.
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
for script in "$here"/*.sql; do
    name=$(basename "$script" .sql)
    since=$(sed -n '2s/^-- since //p' "$script")
    [ "$major" -ge "${since:-0}" ] || continue
    options=$(sed -n '1s/^-- //p' "$script")
    "$psql" -X -q -h "$work" -U postgres -d postgres -c "CREATE DATABASE \"$name\""
    "$psql" -X -q -h "$work" -U postgres -d "$name" -v ON_ERROR_STOP=1 -f "$script" >/dev/null
    "$psql" -X -q -h "$work" -U postgres -d "$name" -v ON_ERROR_STOP=1 -c "COPY (SELECT lsn, data FROM
        pg_logical_slot_peek_binary_changes('$name', NULL, NULL, 'publication_names', 'corpus', $options))
        TO STDOUT (FORMAT binary)" >"$here/$out/$name.bin"
    "$psql" -X -q -h "$work" -U postgres -d "$name" -c "SELECT pg_drop_replication_slot('$name')" >/dev/null
    echo "$out/$name.bin: $(stat -c %s "$here/$out/$name.bin") bytes"
done
