-- control tables
CREATE SCHEMA IF NOT EXISTS _tailwater;
CREATE TABLE IF NOT EXISTS _tailwater.progress (pipeline text NOT NULL, system_id text, timeline bigint, lsn bigint, commit_lsn bigint, seq bigint, phase text, fence bigint NOT NULL, updated_at timestamptz, committed_at timestamptz);
CREATE TABLE IF NOT EXISTS _tailwater.offsets (pipeline text NOT NULL, topic text NOT NULL, part integer NOT NULL, next_offset bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.followed (pipeline text NOT NULL, source_schema text NOT NULL, source_table text NOT NULL, table_oid bigint NOT NULL, publication_oid bigint NOT NULL, entry_oid bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.tables (target_schema text NOT NULL, target_table text NOT NULL, pipeline text NOT NULL, source_schema text NOT NULL, source_table text NOT NULL, mode text);
CREATE TABLE IF NOT EXISTS _tailwater.stopped (pipeline text NOT NULL, source_schema text NOT NULL, source_table text NOT NULL, since timestamptz NOT NULL, reason text NOT NULL, remedy text NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.held (pipeline text NOT NULL, source_schema text NOT NULL, source_table text NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL, part integer NOT NULL, changes bigint NOT NULL, bytes bigint NOT NULL, content text NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.notes (pipeline text NOT NULL, name text NOT NULL, value text NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.sources (target_schema text NOT NULL, target_table text NOT NULL, source_column text NOT NULL, source_value text NOT NULL, pipeline text NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.columns (pipeline text NOT NULL, target_schema text NOT NULL, target_table text NOT NULL, source_relation bigint NOT NULL, source_number integer NOT NULL, source_column text NOT NULL, target_column text NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.views (pipeline text NOT NULL, target_schema text NOT NULL, target_table text NOT NULL, view_schema text NOT NULL, view_name text NOT NULL, place integer NOT NULL, shown_name text NOT NULL, target_column text NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.misfits (pipeline text NOT NULL, target_schema text NOT NULL, target_table text NOT NULL, target_column text NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS progress_pipeline ON "_tailwater".progress (pipeline);
-- progress
INSERT INTO _tailwater.progress (pipeline, fence) SELECT 'it''s', 0 WHERE NOT EXISTS (SELECT 1 FROM _tailwater.progress WHERE pipeline = 'it''s');
UPDATE _tailwater.progress SET fence = fence + 1 WHERE pipeline = 'it''s';
SELECT fence, system_id, timeline, lsn, commit_lsn, seq, phase FROM _tailwater.progress WHERE pipeline = 'it''s';
UPDATE _tailwater.progress SET fence = fence WHERE pipeline = 'it''s' AND fence = 9;
SELECT topic, part, next_offset FROM _tailwater.offsets WHERE pipeline = 'it''s' ORDER BY topic, part;
SELECT source_schema, source_table, table_oid, publication_oid, entry_oid FROM _tailwater.followed WHERE pipeline = 'it''s';
-- advance
UPDATE _tailwater.progress SET system_id = '7', timeline = 2, lsn = 300, commit_lsn = 200, seq = 5, phase = 'stream', updated_at = now() WHERE pipeline = 'it''s' AND fence = 9 AND coalesce(commit_lsn, 0) = 100 AND coalesce(seq, 0) = 1;
UPDATE _tailwater.progress SET system_id = '7', timeline = 2, lsn = 300, commit_lsn = 200, seq = 5, phase = 'stream', committed_at = TIMESTAMPTZ '2000-01-01 00:00:01.5+00', updated_at = now() WHERE pipeline = 'it''s' AND fence = 9 AND coalesce(commit_lsn, 0) = 100 AND coalesce(seq, 0) = 1;
-- offsets
DELETE FROM _tailwater.offsets WHERE pipeline = 'it''s' AND topic = 'a''b' AND part = 3;
INSERT INTO _tailwater.offsets (pipeline, topic, part, next_offset) VALUES ('it''s', 'a''b', 3, 42);
-- followed
DELETE FROM _tailwater.followed WHERE pipeline = 'it''s';
DELETE FROM _tailwater.followed WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s';
INSERT INTO _tailwater.followed (pipeline, source_schema, source_table, table_oid, publication_oid, entry_oid) VALUES ('it''s', 'a schema', 'it''s', 1, 2, 0);
DELETE FROM _tailwater.followed WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s';
-- stopped tables
SELECT source_schema, source_table, CAST(extract(epoch FROM since) * 1000000 AS bigint), reason, remedy FROM _tailwater.stopped WHERE pipeline = 'it''s' ORDER BY source_schema, source_table;
SELECT source_schema, source_table, CAST(sum(changes) AS bigint) FROM _tailwater.held WHERE pipeline = 'it''s' GROUP BY source_schema, source_table;
DELETE FROM _tailwater.stopped WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s';
INSERT INTO _tailwater.stopped (pipeline, source_schema, source_table, since, reason, remedy) VALUES ('it''s', 'a schema', 'it''s', TIMESTAMPTZ '2000-01-01 00:00:01.5+00', 'it''s so', 'do that');
DELETE FROM _tailwater.stopped WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s';
-- what waits
INSERT INTO _tailwater.held (pipeline, source_schema, source_table, commit_lsn, seq, part, changes, bytes, content) VALUES ('it''s', 'a schema', 'it''s', 100, 1, 0, 3, 60001, '...');
INSERT INTO _tailwater.held (pipeline, source_schema, source_table, commit_lsn, seq, part, changes, bytes, content) VALUES ('it''s', 'a schema', 'it''s', 100, 1, 1, 0, 0, 'A');
SELECT commit_lsn, seq, changes, bytes FROM _tailwater.held WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s' AND part = 0 ORDER BY commit_lsn, seq LIMIT 5;
SELECT commit_lsn, seq, content FROM _tailwater.held WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s' AND (commit_lsn < 100 OR (commit_lsn = 100 AND seq <= 1)) ORDER BY commit_lsn, seq, part;
DELETE FROM _tailwater.held WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s' AND (commit_lsn < 100 OR (commit_lsn = 100 AND seq <= 1));
DELETE FROM _tailwater.held WHERE pipeline = 'it''s';
-- shared work
CREATE TABLE IF NOT EXISTS _tailwater.cuts (pipeline text NOT NULL, fence bigint NOT NULL, cut bigint NOT NULL, since bigint NOT NULL, upto bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.stages (pipeline text NOT NULL, fence bigint NOT NULL, cut bigint NOT NULL, topic text NOT NULL, member text NOT NULL, part integer NOT NULL, stage text, shape text, layout text, horizon_lsn bigint, horizon_seq bigint, horizon_at bigint, deletes integer NOT NULL, missing text NOT NULL, staged bigint NOT NULL, newest bigint);
SELECT p.fence, o.next_offset, c.cut, c.since, c.upto FROM _tailwater.progress p LEFT JOIN _tailwater.offsets o ON o.pipeline = p.pipeline AND o.topic = 'p''s' AND o.part = 0 LEFT JOIN _tailwater.cuts c ON c.pipeline = p.pipeline AND c.fence = p.fence WHERE p.pipeline = 'it''s' ORDER BY c.cut;
INSERT INTO _tailwater.cuts (pipeline, fence, cut, since, upto) SELECT pipeline, fence, 3, 40, 42 FROM _tailwater.progress WHERE pipeline = 'it''s' AND fence = 9;
SELECT DISTINCT cut, topic FROM _tailwater.stages WHERE pipeline = 'it''s' AND fence = 9;
SELECT DISTINCT p.fence, s.cut, s.topic, s.member FROM _tailwater.progress p LEFT JOIN _tailwater.stages s ON s.pipeline = p.pipeline AND s.fence = 9 WHERE p.pipeline = 'it''s';
INSERT INTO _tailwater.stages (pipeline, fence, cut, topic, member, part, stage, shape, layout, horizon_lsn, horizon_seq, horizon_at, deletes, missing, staged, newest) SELECT pipeline, fence, cut, 'a''b', 'm', 1, '"_tailwater"."stage_1"', '{"schema":"it''s"}', 'mirror', 100, 1, 946684801500000, 1, '4,6', 2, 946684801500000 FROM _tailwater.cuts WHERE pipeline = 'it''s' AND fence = 9 AND cut = 3;
INSERT INTO _tailwater.stages (pipeline, fence, cut, topic, member, part, stage, shape, layout, horizon_lsn, horizon_seq, horizon_at, deletes, missing, staged, newest) SELECT pipeline, fence, cut, 'a''b', 'm', 1, NULL, NULL, NULL, NULL, NULL, NULL, 0, '', 2, NULL FROM _tailwater.cuts WHERE pipeline = 'it''s' AND fence = 9 AND cut = 3;
SELECT topic, member, part, stage, shape, layout, horizon_lsn, horizon_seq, horizon_at, deletes, missing, staged, newest FROM _tailwater.stages WHERE pipeline = 'it''s' AND fence = 9 AND cut = 3 ORDER BY topic, member, part;
SELECT stage FROM _tailwater.stages WHERE pipeline = 'it''s' AND (fence < 9 OR (fence = 9 AND cut BETWEEN 1 AND 3)) AND stage IS NOT NULL;
DELETE FROM _tailwater.cuts WHERE pipeline = 'it''s' AND (fence < 9 OR (fence = 9 AND cut BETWEEN 1 AND 3));
DELETE FROM _tailwater.stages WHERE pipeline = 'it''s' AND (fence < 9 OR (fence = 9 AND cut BETWEEN 1 AND 3));
DROP TABLE IF EXISTS "_tailwater"."stage_246b01ab2037f7e2";
CREATE TABLE "_tailwater"."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text, _tw_base_1 bigint) WITH (autovacuum_enabled = false);
-- what columns hold
SELECT source_relation, source_number, source_column, target_column FROM _tailwater.columns WHERE pipeline = 'it''s' AND target_schema = 'a schema' AND target_table = 'it''s';
DELETE FROM _tailwater.columns WHERE pipeline = 'it''s' AND target_schema = 'a schema' AND target_table = 'it''s';
INSERT INTO _tailwater.columns (pipeline, target_schema, target_table, source_relation, source_number, source_column, target_column) VALUES ('it''s', 'a schema', 'it''s', 7, 3, 'it''s', 'it''s__v2'), ('it''s', 'a schema', 'it''s', 7, 0, 'it''s', 'it''s__v2');
-- marks of values that did not fit
DELETE FROM _tailwater.misfits WHERE pipeline = 'it''s' AND target_schema = 'a schema' AND target_table = 'it''s' AND target_column = 'it''s' AND ((commit_lsn = 7 AND seq = 1) OR (commit_lsn = 8 AND seq = 2));
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) VALUES ('it''s', 'a schema', 'it''s', 'it''s', 7, 1), ('it''s', 'a schema', 'it''s', 'it''s', 8, 2);
SELECT DISTINCT target_schema, target_table FROM _tailwater.misfits WHERE pipeline = 'it''s';
DELETE FROM _tailwater.misfits WHERE pipeline = 'it''s';
-- with a key of two columns: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" bigint NOT NULL, "Weird ""quoted"".name" text NOT NULL, "amount" numeric, "any amount" numeric, "tags" text[], "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, PRIMARY KEY ("Weird ""quoted"".name", "select"));
-- add columns that have values in the rows that are there
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "amount" numeric DEFAULT CAST('1.50' AS numeric);
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" DROP DEFAULT;
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "raw" bytea DEFAULT CAST('\x00ff' AS bytea);
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "raw" DROP DEFAULT;
-- alter a column's type
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" TYPE numeric USING "amount"::numeric;
-- make text of columns
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" TYPE text USING "amount"::text;
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" TYPE text USING "amount"::text;
-- rename a column
ALTER TABLE "Sales dep't"."or""der.s" RENAME COLUMN "it's ""a""" TO "b";
-- a view
CREATE SCHEMA IF NOT EXISTS "of ""us""";
CREATE OR REPLACE VIEW "of ""us"""."The v'iew" AS SELECT "select", "Amount" AS "it's ""old""" FROM "Sales dep't"."or""der.s";
SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, '"of ""us"""."The v''iew"', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE c.oid = pg_catalog.to_regclass('"of ""us"""."The v''iew"') AND a.grantee <> c.relowner ORDER BY 1;
DROP VIEW IF EXISTS "of ""us"""."The v'iew";
SELECT view_schema, view_name, shown_name, target_column FROM _tailwater.views WHERE pipeline = 'it''s' AND target_schema = 'Sales dep''t' AND target_table = 'or"der.s' ORDER BY place;
DELETE FROM _tailwater.views WHERE pipeline = 'it''s' AND target_schema = 'Sales dep''t' AND target_table = 'or"der.s';
INSERT INTO _tailwater.views (pipeline, target_schema, target_table, view_schema, view_name, place, shown_name, target_column) VALUES ('it''s', 'Sales dep''t', 'or"der.s', 'of "us"', 'The v''iew', 0, 'select', 'select'), ('it''s', 'Sales dep''t', 'or"der.s', 'of "us"', 'The v''iew', 1, 'it''s "old"', 'Amount');
-- another key
DO $tailwater$ DECLARE old name; BEGIN SELECT conname INTO STRICT old FROM pg_catalog.pg_constraint WHERE conrelid = '"Sales dep''t"."or""der.s"'::regclass AND contype = 'p'; EXECUTE 'ALTER TABLE ' || '"Sales dep''t"."or""der.s"' || ' DROP CONSTRAINT ' || quote_ident(old) || ', ALTER COLUMN "it''s" DROP NOT NULL, ADD PRIMARY KEY ("select", "new ""key""")'; END $tailwater$;
-- add a column
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "ünï" text;
-- look at it
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, NULL), CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) THEN 'key' ELSE 'value' END FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'Sales dep''t' AND c.relname = 'or"der.s' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
-- empty it
TRUNCATE pg_temp."stage_246b01ab2037f7e2";
-- staging table
DROP TABLE IF EXISTS pg_temp."stage_246b01ab2037f7e2";
CREATE TABLE pg_temp."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text, _tw_base_1 text, _tw_base_2 bigint) WITH (autovacuum_enabled = false);
-- keep marks
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, pg_temp."stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM pg_temp."stage_246b01ab2037f7e2" AS s LEFT JOIN "Sales dep't"."or""der.s" AS t ON t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "Sales dep't"."or""der.s" AS o ON o."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND o."select" = s."select" AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "tags" = CAST(t."tags" AS text) FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
MERGE INTO "Sales dep't"."or""der.s" t USING pg_temp."stage_246b01ab2037f7e2" s ON t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" WHEN MATCHED AND (s._tw_lsn, s._tw_seq) <= (t._tw_lsn, t._tw_seq) THEN DO NOTHING WHEN MATCHED AND s._tw_op = 'd' THEN DELETE WHEN MATCHED THEN UPDATE SET "select" = s."select", "Weird ""quoted"".name" = s."Weird ""quoted"".name", "amount" = s."amount", "any amount" = s."any amount", "tags" = (s."tags")::text[], "mood" = s."mood", "raw" = s."raw", "when" = s."when", "doc" = s."doc", "ünï" = s."ünï", _tw_lsn = s._tw_lsn, _tw_seq = s._tw_seq WHEN NOT MATCHED AND s._tw_op <> 'd' THEN INSERT ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq) VALUES (s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq);
-- without a key: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text[], "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_op text NOT NULL);
-- add a column
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "ünï" text;
-- look at it
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, NULL), CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) THEN 'key' ELSE 'value' END FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'Sales dep''t' AND c.relname = 'or"der.s' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
-- empty it
TRUNCATE pg_temp."stage_246b01ab2037f7e2";
-- staging table
DROP TABLE IF EXISTS pg_temp."stage_246b01ab2037f7e2";
CREATE TABLE pg_temp."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text) WITH (autovacuum_enabled = false);
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op FROM pg_temp."stage_246b01ab2037f7e2" AS s;
-- soft deletes: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" bigint NOT NULL, "Weird ""quoted"".name" text NOT NULL, "amount" numeric, "any amount" numeric, "tags" text[], "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_deleted boolean NOT NULL, _tw_deleted_at timestamptz, PRIMARY KEY ("Weird ""quoted"".name", "select"));
-- staging table
DROP TABLE IF EXISTS pg_temp."stage_246b01ab2037f7e2";
CREATE TABLE pg_temp."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text, _tw_at text, _tw_base_1 text, _tw_base_2 bigint) WITH (autovacuum_enabled = false);
-- keep marks
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, pg_temp."stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND NOT t._tw_deleted AND substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, pg_temp."stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND NOT t._tw_deleted AND s._tw_op = 'd' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM pg_temp."stage_246b01ab2037f7e2" AS s LEFT JOIN "Sales dep't"."or""der.s" AS t ON t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "Sales dep't"."or""der.s" AS o ON o."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND o."select" = s."select" AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "tags" = CAST(t."tags" AS text) FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "select" = t."select", "Weird ""quoted"".name" = t."Weird ""quoted"".name", "amount" = t."amount", "any amount" = t."any amount", "tags" = CAST(t."tags" AS text), "mood" = t."mood", "raw" = t."raw", "when" = t."when", "doc" = t."doc", "ünï" = t."ünï", _tw_op = 'm' FROM "Sales dep't"."or""der.s" AS t WHERE s._tw_op = 'd' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
MERGE INTO "Sales dep't"."or""der.s" t USING pg_temp."stage_246b01ab2037f7e2" s ON t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" WHEN MATCHED AND (s._tw_lsn, s._tw_seq) <= (t._tw_lsn, t._tw_seq) THEN DO NOTHING WHEN MATCHED AND s._tw_op = 'd' THEN DO NOTHING WHEN MATCHED THEN UPDATE SET "select" = s."select", "Weird ""quoted"".name" = s."Weird ""quoted"".name", "amount" = s."amount", "any amount" = s."any amount", "tags" = (s."tags")::text[], "mood" = s."mood", "raw" = s."raw", "when" = s."when", "doc" = s."doc", "ünï" = s."ünï", _tw_lsn = s._tw_lsn, _tw_seq = s._tw_seq, _tw_deleted = s._tw_op = 'm', _tw_deleted_at = CASE WHEN s._tw_op = 'm' THEN CAST(s._tw_at AS timestamptz) END WHEN NOT MATCHED AND s._tw_op <> 'd' THEN INSERT ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_deleted, _tw_deleted_at) VALUES (s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op = 'm', CASE WHEN s._tw_op = 'm' THEN CAST(s._tw_at AS timestamptz) END);
UPDATE "Sales dep't"."or""der.s" SET _tw_deleted = true, _tw_deleted_at = TIMESTAMPTZ '2000-01-01 00:00:01.5+00', _tw_lsn = 150, _tw_seq = 0 WHERE NOT _tw_deleted AND (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
-- history: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" bigint NOT NULL, "Weird ""quoted"".name" text NOT NULL, "amount" numeric, "any amount" numeric, "tags" text[], "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_valid_from timestamptz NOT NULL, _tw_valid_to timestamptz, PRIMARY KEY ("Weird ""quoted"".name", "select", _tw_lsn, _tw_seq)); CREATE UNIQUE INDEX IF NOT EXISTS "tw_current_246b01ab2037f7e2" ON "Sales dep't"."or""der.s" ("Weird ""quoted"".name", "select") WHERE _tw_valid_to IS NULL;
-- staging table
DROP TABLE IF EXISTS pg_temp."stage_246b01ab2037f7e2";
CREATE TABLE pg_temp."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text, _tw_at text, _tw_end text, _tw_base_1 text, _tw_base_2 bigint) WITH (autovacuum_enabled = false);
-- keep marks
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, pg_temp."stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND t._tw_valid_to IS NULL AND substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM pg_temp."stage_246b01ab2037f7e2" AS s LEFT JOIN "Sales dep't"."or""der.s" AS t ON t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND t._tw_valid_to IS NULL AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "Sales dep't"."or""der.s" AS o ON o."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND o."select" = s."select" AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "tags" = CAST(t."tags" AS text) FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND t._tw_valid_to IS NULL AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE pg_temp."stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND t._tw_valid_to IS NULL AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
DELETE FROM "Sales dep't"."or""der.s" AS t USING pg_temp."stage_246b01ab2037f7e2" AS s WHERE s._tw_op = 'x' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND t._tw_valid_to IS NULL AND t._tw_lsn = s._tw_lsn AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE "Sales dep't"."or""der.s" AS t SET _tw_valid_to = CAST(s._tw_at AS timestamptz) FROM pg_temp."stage_246b01ab2037f7e2" AS s WHERE s._tw_op = 'x' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND t._tw_valid_to IS NULL AND t._tw_lsn < s._tw_lsn;
DELETE FROM "Sales dep't"."or""der.s" WHERE _tw_lsn = 150 AND _tw_valid_to IS NULL AND (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
UPDATE "Sales dep't"."or""der.s" SET _tw_valid_to = TIMESTAMPTZ '2000-01-01 00:00:01.5+00' WHERE _tw_valid_to IS NULL AND (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_valid_from, _tw_valid_to) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, CAST(s._tw_at AS timestamptz), CAST(s._tw_end AS timestamptz) FROM pg_temp."stage_246b01ab2037f7e2" AS s WHERE s._tw_op IN ('v', 'e') AND NOT EXISTS (SELECT 1 FROM "Sales dep't"."or""der.s" AS t WHERE t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND NOT (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)));
-- appended: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text[], "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_op text NOT NULL, _tw_committed_at timestamptz NOT NULL, _tw_unchanged text, _tw_old text);
-- staging table
DROP TABLE IF EXISTS pg_temp."stage_246b01ab2037f7e2";
CREATE TABLE pg_temp."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text, _tw_at text, _tw_unchanged text, _tw_old text, _tw_base_1 text, _tw_base_2 bigint) WITH (autovacuum_enabled = false);
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op, _tw_committed_at, _tw_unchanged, _tw_old) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op, CAST(s._tw_at AS timestamptz), s._tw_unchanged, s._tw_old FROM pg_temp."stage_246b01ab2037f7e2" AS s;
-- copies: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text[], "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_op text NOT NULL);
-- staging table
DROP TABLE IF EXISTS pg_temp."stage_246b01ab2037f7e2";
CREATE TABLE pg_temp."stage_246b01ab2037f7e2" ("select" bigint, "Weird ""quoted"".name" text, "amount" numeric, "any amount" numeric, "tags" text, "mood" text, "raw" bytea, "when" timestamp with time zone, "doc" jsonb, "ünï" text, _tw_lsn bigint, _tw_seq bigint, _tw_op text, _tw_missing text) WITH (autovacuum_enabled = false);
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op FROM pg_temp."stage_246b01ab2037f7e2" AS s WHERE s._tw_op <> 'd';
SET LOCAL enable_hashjoin = on;
DELETE FROM "Sales dep't"."or""der.s" AS t USING (SELECT t._tw_lsn, t._tw_seq, d._tw_copies, row_number() OVER (PARTITION BY d._tw_row ORDER BY t._tw_lsn, t._tw_seq) AS _tw_n FROM "Sales dep't"."or""der.s" AS t JOIN (SELECT ROW(s."select", s."Weird ""quoted"".name", s."amount", s."any amount", (s."tags")::text[], s."mood", s."raw", s."when", s."doc", s."ünï")::text AS _tw_row, count(*) AS _tw_copies FROM pg_temp."stage_246b01ab2037f7e2" AS s WHERE s._tw_op = 'd' GROUP BY 1) AS d ON ROW(t."select", t."Weird ""quoted"".name", t."amount", t."any amount", t."tags", t."mood", t."raw", t."when", t."doc", t."ünï")::text = d._tw_row) AS c WHERE t._tw_lsn = c._tw_lsn AND t._tw_seq = c._tw_seq AND c._tw_n <= c._tw_copies;
SET LOCAL enable_hashjoin = off;
