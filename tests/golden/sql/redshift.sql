-- control tables
CREATE SCHEMA IF NOT EXISTS _tailwater;
CREATE TABLE IF NOT EXISTS "_tailwater"."progress_it's" (pipeline character varying(1024) NOT NULL, system_id character varying(1024), timeline bigint, lsn bigint, commit_lsn bigint, seq bigint, phase character varying(1024), fence bigint NOT NULL, updated_at timestamp with time zone, committed_at timestamp with time zone);
CREATE TABLE IF NOT EXISTS "_tailwater"."offsets_it's" (pipeline character varying(1024) NOT NULL, topic character varying(1024) NOT NULL, part integer NOT NULL, next_offset bigint NOT NULL);
CREATE TABLE IF NOT EXISTS "_tailwater"."followed_it's" (pipeline character varying(1024) NOT NULL, source_schema character varying(1024) NOT NULL, source_table character varying(1024) NOT NULL, table_oid bigint NOT NULL, publication_oid bigint NOT NULL, entry_oid bigint NOT NULL);
CREATE TABLE IF NOT EXISTS "_tailwater"."tables" (target_schema character varying(1024) NOT NULL, target_table character varying(1024) NOT NULL, pipeline character varying(1024) NOT NULL, source_schema character varying(1024) NOT NULL, source_table character varying(1024) NOT NULL, mode character varying(1024));
CREATE TABLE IF NOT EXISTS _tailwater.stopped (pipeline character varying(1024) NOT NULL, source_schema character varying(1024) NOT NULL, source_table character varying(1024) NOT NULL, since timestamp with time zone NOT NULL, reason character varying(65535) NOT NULL, remedy character varying(65535) NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.held (pipeline character varying(1024) NOT NULL, source_schema character varying(1024) NOT NULL, source_table character varying(1024) NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL, part integer NOT NULL, changes bigint NOT NULL, bytes bigint NOT NULL, content character varying(65535) NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.notes (pipeline character varying(1024) NOT NULL, name character varying(1024) NOT NULL, value character varying(65535) NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.sources (target_schema character varying(1024) NOT NULL, target_table character varying(1024) NOT NULL, source_column character varying(1024) NOT NULL, source_value character varying(1024) NOT NULL, pipeline character varying(1024) NOT NULL);
CREATE TABLE IF NOT EXISTS "_tailwater"."columns_it's" (pipeline character varying(1024) NOT NULL, target_schema character varying(1024) NOT NULL, target_table character varying(1024) NOT NULL, source_relation bigint NOT NULL, source_number integer NOT NULL, source_column character varying(1024) NOT NULL, target_column character varying(1024) NOT NULL);
CREATE TABLE IF NOT EXISTS "_tailwater"."views_it's" (pipeline character varying(1024) NOT NULL, target_schema character varying(1024) NOT NULL, target_table character varying(1024) NOT NULL, view_schema character varying(1024) NOT NULL, view_name character varying(1024) NOT NULL, place integer NOT NULL, shown_name character varying(1024) NOT NULL, target_column character varying(1024) NOT NULL);
CREATE TABLE IF NOT EXISTS "_tailwater"."misfits_it's" (pipeline character varying(1024) NOT NULL, target_schema character varying(1024) NOT NULL, target_table character varying(1024) NOT NULL, target_column character varying(1024) NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL);
-- progress
INSERT INTO "_tailwater"."progress_it's" (pipeline, fence) SELECT 'it''s', 0 WHERE NOT EXISTS (SELECT 1 FROM "_tailwater"."progress_it's" WHERE pipeline = 'it''s');
UPDATE "_tailwater"."progress_it's" SET fence = fence + 1 WHERE pipeline = 'it''s';
SELECT fence, system_id, timeline, lsn, commit_lsn, seq, phase FROM "_tailwater"."progress_it's" WHERE pipeline = 'it''s';
UPDATE "_tailwater"."progress_it's" SET fence = fence WHERE pipeline = 'it''s' AND fence = 9;
SELECT topic, part, next_offset FROM "_tailwater"."offsets_it's" WHERE pipeline = 'it''s' ORDER BY topic, part;
SELECT source_schema, source_table, table_oid, publication_oid, entry_oid FROM "_tailwater"."followed_it's" WHERE pipeline = 'it''s';
-- advance
UPDATE "_tailwater"."progress_it's" SET system_id = '7', timeline = 2, lsn = 300, commit_lsn = 200, seq = 5, phase = 'stream', updated_at = getdate() WHERE pipeline = 'it''s' AND fence = 9 AND coalesce(commit_lsn, 0) = 100 AND coalesce(seq, 0) = 1;
UPDATE "_tailwater"."progress_it's" SET system_id = '7', timeline = 2, lsn = 300, commit_lsn = 200, seq = 5, phase = 'stream', committed_at = TIMESTAMPTZ '2000-01-01 00:00:01.5+00', updated_at = getdate() WHERE pipeline = 'it''s' AND fence = 9 AND coalesce(commit_lsn, 0) = 100 AND coalesce(seq, 0) = 1;
-- offsets
DELETE FROM "_tailwater"."offsets_it's" WHERE pipeline = 'it''s' AND topic = 'a''b' AND part = 3;
INSERT INTO "_tailwater"."offsets_it's" (pipeline, topic, part, next_offset) VALUES ('it''s', 'a''b', 3, 42);
-- followed
DELETE FROM "_tailwater"."followed_it's" WHERE pipeline = 'it''s';
DELETE FROM "_tailwater"."followed_it's" WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s';
INSERT INTO "_tailwater"."followed_it's" (pipeline, source_schema, source_table, table_oid, publication_oid, entry_oid) VALUES ('it''s', 'a schema', 'it''s', 1, 2, 0);
DELETE FROM "_tailwater"."followed_it's" WHERE pipeline = 'it''s' AND source_schema = 'a schema' AND source_table = 'it''s';
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
DROP TABLE IF EXISTS stage_246b01ab2037f7e2;
CREATE TEMP TABLE stage_246b01ab2037f7e2 ("select" bigint, "weird ""quoted"".name" character varying(65535), "amount" numeric(12,3), "any amount" character varying(65535), "tags" character varying(65535), "mood" character varying(65535), "raw" binary varying(1024000), "when" timestamp without time zone, "doc" character varying(65535), "ünï" character varying(65535), _tw_lsn bigint, _tw_seq bigint, _tw_op character varying(65535), _tw_missing character varying(65535), _tw_base_1 bigint) DISTSTYLE KEY DISTKEY ("select");
-- what columns hold
SELECT source_relation, source_number, source_column, target_column FROM "_tailwater"."columns_it's" WHERE pipeline = 'it''s' AND target_schema = 'a schema' AND target_table = 'it''s';
DELETE FROM "_tailwater"."columns_it's" WHERE pipeline = 'it''s' AND target_schema = 'a schema' AND target_table = 'it''s';
INSERT INTO "_tailwater"."columns_it's" (pipeline, target_schema, target_table, source_relation, source_number, source_column, target_column) VALUES ('it''s', 'a schema', 'it''s', 7, 3, 'it''s', 'it''s__v2'), ('it''s', 'a schema', 'it''s', 7, 0, 'it''s', 'it''s__v2');
-- marks of values that did not fit
DELETE FROM "_tailwater"."misfits_it's" WHERE pipeline = 'it''s' AND target_schema = 'a schema' AND target_table = 'it''s' AND target_column = 'it''s' AND ((commit_lsn = 7 AND seq = 1) OR (commit_lsn = 8 AND seq = 2));
INSERT INTO "_tailwater"."misfits_it's" (pipeline, target_schema, target_table, target_column, commit_lsn, seq) VALUES ('it''s', 'a schema', 'it''s', 'it''s', 7, 1), ('it''s', 'a schema', 'it''s', 'it''s', 8, 2);
SELECT DISTINCT target_schema, target_table FROM "_tailwater"."misfits_it's" WHERE pipeline = 'it''s';
DELETE FROM "_tailwater"."misfits_it's" WHERE pipeline = 'it''s';
-- with a key of two columns: create
CREATE SCHEMA IF NOT EXISTS "sales dep't";
CREATE TABLE IF NOT EXISTS "sales dep't"."or""der.s" ("select" bigint NOT NULL, "weird ""quoted"".name" character varying(80) ENCODE ZSTD NOT NULL, "amount" numeric(12,3), "any amount" character varying(1024) ENCODE ZSTD, "tags" character varying(1024) ENCODE ZSTD, "mood" character varying(64) ENCODE ZSTD, "raw" binary varying(1024000), "when" timestamp with time zone, "doc" super, "ünï" character varying(1024) ENCODE ZSTD, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL) DISTSTYLE KEY DISTKEY ("weird ""quoted"".name") SORTKEY ("weird ""quoted"".name", "select");
-- add columns that have values in the rows that are there
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "amount" numeric(12,3);
UPDATE "sales dep't"."or""der.s" SET "amount" = CAST('1.50' AS numeric(12,3));
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "raw" binary varying(1024000);
UPDATE "sales dep't"."or""der.s" SET "raw" = FROM_HEX('00ff');
-- alter a column's type
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "_tw_cast" numeric(12,3);
UPDATE "sales dep't"."or""der.s" SET "_tw_cast" = CAST("amount" AS numeric(12,3));
ALTER TABLE "sales dep't"."or""der.s" DROP COLUMN "amount";
ALTER TABLE "sales dep't"."or""der.s" RENAME COLUMN "_tw_cast" TO "amount";
-- make text of columns
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "_tw_cast" character varying(65535) ENCODE ZSTD;
UPDATE "sales dep't"."or""der.s" SET "_tw_cast" = CAST("amount" AS character varying(65535));
ALTER TABLE "sales dep't"."or""der.s" DROP COLUMN "amount";
ALTER TABLE "sales dep't"."or""der.s" RENAME COLUMN "_tw_cast" TO "amount";
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "_tw_cast" character varying(65535) ENCODE ZSTD;
UPDATE "sales dep't"."or""der.s" SET "_tw_cast" = RTRIM(RTRIM(TO_CHAR("amount", 'YYYY-MM-DD HH24:MI:SS.US'), '0'), '.');
ALTER TABLE "sales dep't"."or""der.s" DROP COLUMN "amount";
ALTER TABLE "sales dep't"."or""der.s" RENAME COLUMN "_tw_cast" TO "amount";
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "_tw_cast" character varying(65535) ENCODE ZSTD;
UPDATE "sales dep't"."or""der.s" SET "_tw_cast" = RTRIM(RTRIM(TO_CHAR(("amount" AT TIME ZONE 'UTC'), 'YYYY-MM-DD HH24:MI:SS.US'), '0'), '.') || '+00';
ALTER TABLE "sales dep't"."or""der.s" DROP COLUMN "amount";
ALTER TABLE "sales dep't"."or""der.s" RENAME COLUMN "_tw_cast" TO "amount";
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "_tw_cast" character varying(65535) ENCODE ZSTD;
UPDATE "sales dep't"."or""der.s" SET "_tw_cast" = JSON_SERIALIZE("amount");
ALTER TABLE "sales dep't"."or""der.s" DROP COLUMN "amount";
ALTER TABLE "sales dep't"."or""der.s" RENAME COLUMN "_tw_cast" TO "amount";
-- rename a column
ALTER TABLE "sales dep't"."or""der.s" RENAME COLUMN "it's ""a""" TO "b";
-- a view
CREATE SCHEMA IF NOT EXISTS "of ""us""";
CREATE OR REPLACE VIEW "of ""us"""."the v'iew" AS SELECT "select", "amount" AS "it's ""old""" FROM "sales dep't"."or""der.s" WITH NO SCHEMA BINDING;
DROP VIEW IF EXISTS "of ""us"""."the v'iew";
SELECT view_schema, view_name, shown_name, target_column FROM "_tailwater"."views_it's" WHERE pipeline = 'it''s' AND target_schema = 'Sales dep''t' AND target_table = 'or"der.s' ORDER BY place;
DELETE FROM "_tailwater"."views_it's" WHERE pipeline = 'it''s' AND target_schema = 'Sales dep''t' AND target_table = 'or"der.s';
INSERT INTO "_tailwater"."views_it's" (pipeline, target_schema, target_table, view_schema, view_name, place, shown_name, target_column) VALUES ('it''s', 'Sales dep''t', 'or"der.s', 'of "us"', 'The v''iew', 0, 'select', 'select'), ('it''s', 'Sales dep''t', 'or"der.s', 'of "us"', 'The v''iew', 1, 'it''s "old"', 'Amount');
-- another key
-- add a column
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "ünï" character varying(1024) ENCODE ZSTD;
-- look at it
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull AND a.attname NOT IN ('_tw_lsn', '_tw_seq') THEN 'key' ELSE 'value' END FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'sales dep''t' AND c.relname = 'or"der.s' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
-- empty it
DELETE FROM stage_246b01ab2037f7e2;
-- staging table
DROP TABLE IF EXISTS stage_246b01ab2037f7e2;
CREATE TEMP TABLE stage_246b01ab2037f7e2 ("select" bigint, "weird ""quoted"".name" character varying(65535), "amount" numeric(12,3), "any amount" character varying(65535), "tags" character varying(65535), "mood" character varying(65535), "raw" binary varying(1024000), "when" timestamp without time zone, "doc" character varying(65535), "ünï" character varying(65535), _tw_lsn bigint, _tw_seq bigint, _tw_op character varying(65535), _tw_missing character varying(65535), _tw_base_1 character varying(65535), _tw_base_2 bigint) DISTSTYLE KEY DISTKEY ("weird ""quoted"".name");
-- keep marks
INSERT INTO "_tailwater"."misfits_it's" (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM "_tailwater"."misfits_it's" m, stage_246b01ab2037f7e2 s, "sales dep't"."or""der.s" t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND substring(s._tw_missing, 5, 1) = '1' AND t."weird ""quoted"".name" = coalesce(s._tw_base_1, s."weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM stage_246b01ab2037f7e2 s LEFT JOIN "sales dep't"."or""der.s" t ON t."weird ""quoted"".name" = coalesce(s._tw_base_1, s."weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "sales dep't"."or""der.s" o ON o."weird ""quoted"".name" = s."weird ""quoted"".name" AND o."select" = s."select" AND NOT (o._tw_lsn < s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq < s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
DELETE FROM "sales dep't"."or""der.s" WHERE _tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0);
UPDATE stage_246b01ab2037f7e2 SET "tags" = t."tags" FROM "sales dep't"."or""der.s" t WHERE substring(stage_246b01ab2037f7e2._tw_missing, 5, 1) = '1' AND t."weird ""quoted"".name" = coalesce(stage_246b01ab2037f7e2._tw_base_1, stage_246b01ab2037f7e2."weird ""quoted"".name") AND t."select" = coalesce(stage_246b01ab2037f7e2._tw_base_2, stage_246b01ab2037f7e2."select") AND (t._tw_lsn < stage_246b01ab2037f7e2._tw_lsn OR (t._tw_lsn = stage_246b01ab2037f7e2._tw_lsn AND t._tw_seq < stage_246b01ab2037f7e2._tw_seq));
UPDATE stage_246b01ab2037f7e2 SET "raw" = t."raw" FROM "sales dep't"."or""der.s" t WHERE substring(stage_246b01ab2037f7e2._tw_missing, 7, 1) = '1' AND t."weird ""quoted"".name" = coalesce(stage_246b01ab2037f7e2._tw_base_1, stage_246b01ab2037f7e2."weird ""quoted"".name") AND t."select" = coalesce(stage_246b01ab2037f7e2._tw_base_2, stage_246b01ab2037f7e2."select") AND (t._tw_lsn < stage_246b01ab2037f7e2._tw_lsn OR (t._tw_lsn = stage_246b01ab2037f7e2._tw_lsn AND t._tw_seq < stage_246b01ab2037f7e2._tw_seq));
DELETE FROM "sales dep't"."or""der.s" USING stage_246b01ab2037f7e2 s WHERE "or""der.s"."weird ""quoted"".name" = s."weird ""quoted"".name" AND "or""der.s"."select" = s."select" AND ("or""der.s"._tw_lsn < s._tw_lsn OR ("or""der.s"._tw_lsn = s._tw_lsn AND "or""der.s"._tw_seq < s._tw_seq));
INSERT INTO "sales dep't"."or""der.s" ("select", "weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq) SELECT s."select", s."weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", (s."when" AT TIME ZONE 'UTC'), JSON_PARSE(s."doc"), s."ünï", s._tw_lsn, s._tw_seq FROM stage_246b01ab2037f7e2 s WHERE s._tw_op <> 'd' AND NOT EXISTS (SELECT 1 FROM "sales dep't"."or""der.s" t WHERE t."weird ""quoted"".name" = s."weird ""quoted"".name" AND t."select" = s."select");
-- without a key: create
CREATE SCHEMA IF NOT EXISTS "sales dep't";
CREATE TABLE IF NOT EXISTS "sales dep't"."or""der.s" ("select" bigint, "weird ""quoted"".name" character varying(80) ENCODE ZSTD, "amount" numeric(12,3), "any amount" character varying(1024) ENCODE ZSTD, "tags" character varying(1024) ENCODE ZSTD, "mood" character varying(64) ENCODE ZSTD, "raw" binary varying(1024000), "when" timestamp with time zone, "doc" super, "ünï" character varying(1024) ENCODE ZSTD, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_op character varying(65535)) DISTSTYLE AUTO SORTKEY (_tw_lsn);
-- add a column
ALTER TABLE "sales dep't"."or""der.s" ADD COLUMN "ünï" character varying(1024) ENCODE ZSTD;
-- look at it
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull AND a.attname NOT IN ('_tw_lsn', '_tw_seq') THEN 'key' ELSE 'value' END FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'sales dep''t' AND c.relname = 'or"der.s' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
-- empty it
DELETE FROM stage_246b01ab2037f7e2;
-- staging table
DROP TABLE IF EXISTS stage_246b01ab2037f7e2;
CREATE TEMP TABLE stage_246b01ab2037f7e2 ("select" bigint, "weird ""quoted"".name" character varying(65535), "amount" numeric(12,3), "any amount" character varying(65535), "tags" character varying(65535), "mood" character varying(65535), "raw" binary varying(1024000), "when" timestamp without time zone, "doc" character varying(65535), "ünï" character varying(65535), _tw_lsn bigint, _tw_seq bigint, _tw_op character varying(65535), _tw_missing character varying(65535)) DISTSTYLE AUTO;
-- merge
DELETE FROM "sales dep't"."or""der.s" WHERE _tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0);
INSERT INTO "sales dep't"."or""der.s" ("select", "weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op) SELECT s."select", s."weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", (s."when" AT TIME ZONE 'UTC'), JSON_PARSE(s."doc"), s."ünï", s._tw_lsn, s._tw_seq, s._tw_op FROM stage_246b01ab2037f7e2 s;
-- appended: create
CREATE SCHEMA IF NOT EXISTS "sales dep't";
CREATE TABLE IF NOT EXISTS "sales dep't"."or""der.s" ("select" bigint, "weird ""quoted"".name" character varying(80) ENCODE ZSTD, "amount" numeric(12,3), "any amount" character varying(1024) ENCODE ZSTD, "tags" character varying(1024) ENCODE ZSTD, "mood" character varying(64) ENCODE ZSTD, "raw" binary varying(1024000), "when" timestamp with time zone, "doc" super, "ünï" character varying(1024) ENCODE ZSTD, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL, _tw_op character varying(65535), _tw_committed_at timestamp with time zone, _tw_unchanged character varying(65535), _tw_old character varying(65535)) DISTSTYLE KEY DISTKEY ("weird ""quoted"".name") SORTKEY ("weird ""quoted"".name", "select");
-- staging table
DROP TABLE IF EXISTS stage_246b01ab2037f7e2;
CREATE TEMP TABLE stage_246b01ab2037f7e2 ("select" bigint, "weird ""quoted"".name" character varying(65535), "amount" numeric(12,3), "any amount" character varying(65535), "tags" character varying(65535), "mood" character varying(65535), "raw" binary varying(1024000), "when" timestamp without time zone, "doc" character varying(65535), "ünï" character varying(65535), _tw_lsn bigint, _tw_seq bigint, _tw_op character varying(65535), _tw_missing character varying(65535), _tw_at character varying(65535), _tw_unchanged character varying(65535), _tw_old character varying(65535), _tw_base_1 character varying(65535), _tw_base_2 bigint) DISTSTYLE KEY DISTKEY ("weird ""quoted"".name");
-- merge
DELETE FROM "sales dep't"."or""der.s" WHERE _tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0);
INSERT INTO "sales dep't"."or""der.s" ("select", "weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op, _tw_committed_at, _tw_unchanged, _tw_old) SELECT s."select", s."weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", (s."when" AT TIME ZONE 'UTC'), JSON_PARSE(s."doc"), s."ünï", s._tw_lsn, s._tw_seq, s._tw_op, CAST(s._tw_at AS timestamp with time zone), s._tw_unchanged, s._tw_old FROM stage_246b01ab2037f7e2 s;
-- load
COPY stage_246b01ab2037f7e2 FROM 's3://b/it''s' IAM_ROLE 'arn' MANIFEST FORMAT AS PARQUET STATUPDATE OFF;
-- load CSV
COPY stage_246b01ab2037f7e2 FROM 's3://b/m' IAM_ROLE 'arn' MANIFEST FORMAT AS CSV NULL AS '~' REGION 'eu-west-1' COMPUPDATE OFF STATUPDATE OFF;
SELECT pg_last_copy_count();
-- widen
ALTER TABLE "sales dep't"."or""der.s" ALTER COLUMN "weird" TYPE character varying(2048);
-- what was refused
SELECT column_name, error_code FROM sys_load_error_detail WHERE strpos(file_name, 's3://b/it''s_') = 1 ORDER BY start_time DESC LIMIT 1;
-- placed by a column
CREATE SCHEMA IF NOT EXISTS "sales dep't";
CREATE TABLE IF NOT EXISTS "sales dep't"."or""der.s" ("select" bigint NOT NULL, "weird ""quoted"".name" character varying(80) ENCODE ZSTD, "amount" numeric(12,3), "any amount" numeric(38,10), "tags" character varying(1024) ENCODE ZSTD, "mood" character varying(64) ENCODE ZSTD, "raw" binary varying(1024000), "when" timestamp with time zone, "doc" super, "ünï" character varying(1024) ENCODE ZSTD, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL) DISTSTYLE KEY DISTKEY ("amount") SORTKEY ("when", "select");
-- placed everywhere
CREATE SCHEMA IF NOT EXISTS "sales dep't";
CREATE TABLE IF NOT EXISTS "sales dep't"."or""der.s" ("select" bigint NOT NULL, "weird ""quoted"".name" character varying(80) ENCODE ZSTD, "amount" numeric(12,3), "any amount" numeric(38,10), "tags" character varying(1024) ENCODE ZSTD, "mood" character varying(64) ENCODE ZSTD, "raw" binary varying(1024000), "when" timestamp with time zone, "doc" super, "ünï" character varying(1024) ENCODE ZSTD, _tw_lsn bigint NOT NULL, _tw_seq bigint NOT NULL) DISTSTYLE ALL SORTKEY ("select");
DROP TABLE IF EXISTS stage_246b01ab2037f7e2;
CREATE TEMP TABLE stage_246b01ab2037f7e2 ("select" bigint, "weird ""quoted"".name" character varying(65535), "amount" numeric(12,3), "any amount" numeric(38,10), "tags" character varying(65535), "mood" character varying(65535), "raw" binary varying(1024000), "when" timestamp without time zone, "doc" character varying(65535), "ünï" character varying(65535), _tw_lsn bigint, _tw_seq bigint, _tw_op character varying(65535), _tw_missing character varying(65535), _tw_base_1 bigint) DISTSTYLE AUTO;
