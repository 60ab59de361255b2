-- What Tailwater can't see in the log, kept as of each DDL: NOT NULL, defaults, keys.
-- Run it as a superuser in the database that is followed; again after an upgrade, or when event triggers were off.
-- To remove it: DROP EVENT TRIGGER tailwater_ddl; DROP EVENT TRIGGER tailwater_drop; DROP TABLE _tailwater.schema_history;
--               DROP ROUTINE _tailwater.schema_facts, _tailwater.note_tables, _tailwater.note_ddl, _tailwater.note_drop,
--               _tailwater.prune_schema_history;

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS _tailwater;

-- In force for the rows of a relation whose place in the log is at or after lsn, until the relation's next entry.
-- No facts: it was dropped.
CREATE TABLE IF NOT EXISTS _tailwater.schema_history (
    id bigserial PRIMARY KEY,
    relation oid NOT NULL,
    lsn pg_lsn NOT NULL,
    facts jsonb
);
CREATE INDEX IF NOT EXISTS schema_history_relation ON _tailwater.schema_history (relation, lsn, id);
GRANT USAGE ON SCHEMA _tailwater TO PUBLIC;
GRANT SELECT ON _tailwater.schema_history TO PUBLIC;

-- Expressions are printed under fixed settings, whatever those of the session that changes the table are.
CREATE OR REPLACE FUNCTION _tailwater.schema_facts(relation oid) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET timezone = 'UTC'
    SET extra_float_digits = 3 SET bytea_output = 'hex' SET standard_conforming_strings = on
AS $$
    WITH RECURSIVE columns AS (
        SELECT a.attnum, a.attname::text AS name, a.attnotnull, a.atttypid,
            CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, 0::oid) END AS expression,
            CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END AS fill
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    ), indexes AS (
        SELECT c.relname, i.indisprimary AS is_primary, i.indisreplident AS is_identity,
            i.indisvalid AND i.indimmediate AND NOT i.indisprimary AND i.indpred IS NULL
                AND bool_and(a.attnotnull) AND count(*) = i.indnkeyatts AS tells_apart,
            jsonb_agg(a.attname::text ORDER BY k.n) AS names
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid,
            unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
            JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum
        WHERE i.indrelid = $1 AND i.indisunique AND k.n <= i.indnkeyatts
        GROUP BY i.indexrelid, c.relname
    )
    , types(oid) AS (
        -- Those that may be dropped, with what is beneath them.
        SELECT atttypid FROM columns WHERE atttypid >= 16384::oid
        UNION
        SELECT beneath.oid FROM types JOIN pg_type p ON p.oid = types.oid CROSS JOIN LATERAL (
            VALUES (p.typbasetype), (CASE WHEN p.typlen = -1 AND p.typcategory = 'A' THEN p.typelem END)) beneath(oid)
        WHERE beneath.oid >= 16384::oid
    ), told AS (
        SELECT t.oid, jsonb_build_object(
            'name', CASE WHEN t.typnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'public')
                THEN quote_ident(t.typname) ELSE format_type(t.oid, NULL) END,
            'labels', CASE WHEN t.typtype = 'e' THEN
                (SELECT jsonb_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) END,
            'base', nullif(t.typbasetype, 0::oid)::bigint, 'modifier', t.typtypmod,
            'element', CASE WHEN t.typlen = -1 AND t.typcategory = 'A' THEN nullif(t.typelem, 0::oid)::bigint END) AS facts
        FROM types JOIN pg_type t ON t.oid = types.oid
    )
    SELECT jsonb_build_object(
        'types', (SELECT coalesce(jsonb_object_agg(oid::text, facts), '{}') FROM told),
        'columns', (SELECT coalesce(jsonb_agg(name ORDER BY attnum), '[]') FROM columns),
        'required', (SELECT coalesce(jsonb_agg(name ORDER BY attnum), '[]') FROM columns WHERE attnotnull),
        'defaults', (SELECT coalesce(jsonb_object_agg(name, expression), '{}') FROM columns WHERE expression IS NOT NULL),
        'numbers', (SELECT coalesce(jsonb_object_agg(name, attnum), '{}') FROM columns),
        'fills', (SELECT coalesce(jsonb_object_agg(name, fill), '{}') FROM columns WHERE fill IS NOT NULL),
        'primary_key', coalesce((SELECT names FROM indexes WHERE is_primary), '[]'),
        'identity_index', coalesce((SELECT names FROM indexes WHERE is_identity LIMIT 1), '[]'),
        'unique_index', coalesce((SELECT names FROM indexes WHERE tells_apart ORDER BY relname COLLATE "C" LIMIT 1), '[]'))
$$;

-- Writes down these tables and those that inherit from them; with changed_only, where something is new.
-- Without it nothing is read of the history, so that two sessions with DDL never have to do with one another.
CREATE OR REPLACE FUNCTION _tailwater.note_tables(relations oid[], changed_only boolean) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE touched(oid) AS (
        SELECT unnest(relations) UNION SELECT i.inhrelid FROM pg_inherits i JOIN touched t ON i.inhparent = t.oid
    )
    INSERT INTO _tailwater.schema_history (relation, lsn, facts)
    SELECT c.oid, pg_current_wal_insert_lsn(), f.facts
    FROM touched t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL (SELECT _tailwater.schema_facts(c.oid) AS facts) f
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND (NOT changed_only OR f.facts IS DISTINCT FROM
            (SELECT h.facts FROM _tailwater.schema_history h WHERE h.relation = c.oid ORDER BY h.id DESC LIMIT 1))
$$;

-- No failure in here fails the DDL: what is missing is then read from the catalog as it is.
CREATE OR REPLACE FUNCTION _tailwater.note_ddl() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _tailwater.note_tables(array(
        SELECT DISTINCT coalesce((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.objid), c.objid)
        FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_class'::regclass
        UNION
        SELECT a.attrelid FROM pg_event_trigger_ddl_commands() c JOIN pg_type t ON t.oid = c.objid
            JOIN pg_attribute a ON a.atttypid IN (t.oid, t.typarray) AND a.attnum > 0
        WHERE tg_tag IN ('ALTER TYPE', 'ALTER DOMAIN') AND c.classid = 'pg_type'::regclass), false);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'Tailwater''s schema history misses a change: %', SQLERRM;
END
$$;

-- What falls with something else (a type's columns, a sequence's defaults, an index) does not say of which table it
-- was: all tables are looked at. Tables that are dropped or altered by name do.
CREATE OR REPLACE FUNCTION _tailwater.note_drop() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO _tailwater.schema_history (relation, lsn, facts)
    SELECT d.objid, pg_current_wal_insert_lsn(), NULL FROM pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.object_type = 'table' AND NOT d.is_temporary;
    IF tg_tag NOT IN ('DROP TABLE', 'ALTER TABLE') AND EXISTS (
        SELECT FROM pg_event_trigger_dropped_objects() d
        WHERE d.object_type IN ('table column', 'default value', 'index', 'table constraint') AND NOT d.is_temporary
    ) THEN
        PERFORM _tailwater.note_tables(array(SELECT c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p')), true);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'Tailwater''s schema history misses a change: %', SQLERRM;
END
$$;

-- Forgets what is older than all that a slot can still ask for.
CREATE OR REPLACE FUNCTION _tailwater.prune_schema_history() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH oldest AS (SELECT min(restart_lsn) AS lsn FROM pg_replication_slots WHERE slot_type = 'logical'), gone AS (
        DELETE FROM _tailwater.schema_history h USING oldest
        WHERE h.facts IS NULL AND h.lsn < oldest.lsn OR EXISTS (
            SELECT FROM _tailwater.schema_history newer
            WHERE newer.relation = h.relation AND newer.id > h.id AND newer.lsn < oldest.lsn)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

DROP EVENT TRIGGER IF EXISTS tailwater_ddl;
DROP EVENT TRIGGER IF EXISTS tailwater_drop;
CREATE EVENT TRIGGER tailwater_ddl ON ddl_command_end EXECUTE FUNCTION _tailwater.note_ddl();
CREATE EVENT TRIGGER tailwater_drop ON sql_drop EXECUTE FUNCTION _tailwater.note_drop();
ALTER EVENT TRIGGER tailwater_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER tailwater_drop ENABLE ALWAYS;

COMMIT;

-- Apart, so that DDL which was under way is over or is seen: what the tables are now. An entry without a predecessor
-- counts for what came before it too.
SELECT _tailwater.note_tables(array(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p')), true);
UPDATE _tailwater.schema_history h SET lsn = '0/0'
WHERE lsn <> '0/0' AND facts IS NOT NULL AND NOT EXISTS (
    SELECT FROM _tailwater.schema_history older WHERE older.relation = h.relation AND older.id < h.id);
