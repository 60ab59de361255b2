-- control tables
CREATE SCHEMA IF NOT EXISTS _tailwater;
CREATE TABLE IF NOT EXISTS _tailwater.progress (pipeline VARCHAR NOT NULL, system_id VARCHAR, timeline bigint, lsn bigint, commit_lsn bigint, seq bigint, phase VARCHAR, fence bigint NOT NULL, updated_at TIMESTAMP WITH TIME ZONE, committed_at TIMESTAMP WITH TIME ZONE);
CREATE TABLE IF NOT EXISTS _tailwater.offsets (pipeline VARCHAR NOT NULL, topic VARCHAR NOT NULL, part integer NOT NULL, next_offset bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.followed (pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, table_oid bigint NOT NULL, publication_oid bigint NOT NULL, entry_oid bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.tables (target_schema VARCHAR NOT NULL, target_table VARCHAR NOT NULL, pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, mode VARCHAR);
CREATE TABLE IF NOT EXISTS _tailwater.stopped (pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, since TIMESTAMP WITH TIME ZONE NOT NULL, reason VARCHAR NOT NULL, remedy VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.held (pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL, part integer NOT NULL, changes bigint NOT NULL, bytes bigint NOT NULL, content VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.notes (pipeline VARCHAR NOT NULL, name VARCHAR NOT NULL, value VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.sources (target_schema VARCHAR NOT NULL, target_table VARCHAR NOT NULL, source_column VARCHAR NOT NULL, source_value VARCHAR NOT NULL, pipeline VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.columns (pipeline VARCHAR NOT NULL, target_schema VARCHAR NOT NULL, target_table VARCHAR NOT NULL, source_relation bigint NOT NULL, source_number integer NOT NULL, source_column VARCHAR NOT NULL, target_column VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.views (pipeline VARCHAR NOT NULL, target_schema VARCHAR NOT NULL, target_table VARCHAR NOT NULL, view_schema VARCHAR NOT NULL, view_name VARCHAR NOT NULL, place integer NOT NULL, shown_name VARCHAR NOT NULL, target_column VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.misfits (pipeline VARCHAR NOT NULL, target_schema VARCHAR NOT NULL, target_table VARCHAR NOT NULL, target_column VARCHAR NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL);
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
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_base_1 BIGINT);
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
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT NOT NULL, "Weird ""quoted"".name" VARCHAR NOT NULL, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT);
-- add columns that have values in the rows that are there
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "amount" DECIMAL(12,3) DEFAULT CAST('1.50' AS DECIMAL(12,3));
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" DROP DEFAULT;
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "raw" BLOB DEFAULT unhex(substr('\x00ff', 3));
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "raw" DROP DEFAULT;
-- alter a column's type
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" TYPE DECIMAL(12,3);
-- make text of columns
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" TYPE VARCHAR USING CAST("amount" AS VARCHAR);
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "amount" TYPE VARCHAR USING regexp_replace(CAST("amount" AS VARCHAR), '^(\S+) \(BC\)(.*)$', '\1\2 BC');
-- rename a column
ALTER TABLE "Sales dep't"."or""der.s" RENAME COLUMN "it's ""a""" TO "b";
-- a view
CREATE SCHEMA IF NOT EXISTS "of ""us""";
CREATE OR REPLACE VIEW "of ""us"""."The v'iew" AS SELECT "select", "Amount" AS "it's ""old""" FROM "Sales dep't"."or""der.s";
DROP VIEW IF EXISTS "of ""us"""."The v'iew";
SELECT view_schema, view_name, shown_name, target_column FROM _tailwater.views WHERE pipeline = 'it''s' AND target_schema = 'Sales dep''t' AND target_table = 'or"der.s' ORDER BY place;
DELETE FROM _tailwater.views WHERE pipeline = 'it''s' AND target_schema = 'Sales dep''t' AND target_table = 'or"der.s';
INSERT INTO _tailwater.views (pipeline, target_schema, target_table, view_schema, view_name, place, shown_name, target_column) VALUES ('it''s', 'Sales dep''t', 'or"der.s', 'of "us"', 'The v''iew', 0, 'select', 'select'), ('it''s', 'Sales dep''t', 'or"der.s', 'of "us"', 'The v''iew', 1, 'it''s "old"', 'Amount');
-- another key
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "it's" DROP NOT NULL;
ALTER TABLE "Sales dep't"."or""der.s" ALTER COLUMN "new ""key""" SET NOT NULL;
-- add a column
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "ünï" VARCHAR;
-- look at it
SELECT column_name, data_type, CASE WHEN is_nullable THEN 'value' ELSE 'key' END FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'Sales dep''t' AND table_name = 'or"der.s' ORDER BY column_index;
-- empty it
DELETE FROM "stage_246b01ab2037f7e2";
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 BIGINT);
-- keep marks
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, "stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM "stage_246b01ab2037f7e2" AS s LEFT JOIN "Sales dep't"."or""der.s" AS t ON t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "Sales dep't"."or""der.s" AS o ON o."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND o."select" = s."select" AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
UPDATE "stage_246b01ab2037f7e2" AS s SET "tags" = t."tags" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE "stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
DELETE FROM "Sales dep't"."or""der.s" AS t USING "stage_246b01ab2037f7e2" AS s WHERE s._tw_op <> '' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq FROM "stage_246b01ab2037f7e2" AS s ANTI JOIN (SELECT "Weird ""quoted"".name", "select" FROM "Sales dep't"."or""der.s" WHERE _tw_lsn >= 200 OR _tw_lsn IS NULL) AS t ON t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" WHERE s._tw_op <> 'd';
-- without a key: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT, _tw_op VARCHAR);
-- add a column
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "ünï" VARCHAR;
-- look at it
SELECT column_name, data_type, CASE WHEN is_nullable THEN 'value' ELSE 'key' END FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'Sales dep''t' AND table_name = 'or"der.s' ORDER BY column_index;
-- empty it
DELETE FROM "stage_246b01ab2037f7e2";
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR);
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op FROM "stage_246b01ab2037f7e2" AS s;
-- soft deletes: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT NOT NULL, "Weird ""quoted"".name" VARCHAR NOT NULL, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT, _tw_deleted BOOLEAN, _tw_deleted_at TIMESTAMP WITH TIME ZONE);
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_at VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 BIGINT);
-- keep marks
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, "stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND NOT t._tw_deleted AND substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, "stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND NOT t._tw_deleted AND s._tw_op = 'd' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM "stage_246b01ab2037f7e2" AS s LEFT JOIN "Sales dep't"."or""der.s" AS t ON t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "Sales dep't"."or""der.s" AS o ON o."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND o."select" = s."select" AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
UPDATE "stage_246b01ab2037f7e2" AS s SET "tags" = t."tags" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE "stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE "stage_246b01ab2037f7e2" AS s SET "select" = t."select", "Weird ""quoted"".name" = t."Weird ""quoted"".name", "amount" = t."amount", "any amount" = t."any amount", "tags" = t."tags", "mood" = t."mood", "raw" = t."raw", "when" = t."when", "doc" = t."doc", "ünï" = t."ünï", _tw_op = 'm' FROM "Sales dep't"."or""der.s" AS t WHERE s._tw_op = 'd' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND NOT t._tw_deleted AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
DELETE FROM "Sales dep't"."or""der.s" AS t USING "stage_246b01ab2037f7e2" AS s WHERE s._tw_op <> 'd' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_deleted, _tw_deleted_at) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op = 'm', CASE WHEN s._tw_op = 'm' THEN CAST(s._tw_at AS TIMESTAMP WITH TIME ZONE) END FROM "stage_246b01ab2037f7e2" AS s ANTI JOIN (SELECT "Weird ""quoted"".name", "select" FROM "Sales dep't"."or""der.s" WHERE _tw_lsn >= 200 OR _tw_lsn IS NULL) AS t ON t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" WHERE s._tw_op <> 'd';
UPDATE "Sales dep't"."or""der.s" SET _tw_deleted = true, _tw_deleted_at = TIMESTAMPTZ '2000-01-01 00:00:01.5+00', _tw_lsn = 150, _tw_seq = 0 WHERE NOT _tw_deleted AND (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
-- history: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT NOT NULL, "Weird ""quoted"".name" VARCHAR NOT NULL, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT, _tw_valid_from TIMESTAMP WITH TIME ZONE, _tw_valid_to TIMESTAMP WITH TIME ZONE);
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_at VARCHAR, _tw_end VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 BIGINT);
-- keep marks
INSERT INTO _tailwater.misfits (pipeline, target_schema, target_table, target_column, commit_lsn, seq) SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq FROM _tailwater.misfits AS m, "stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) AND t._tw_valid_to IS NULL AND substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND m.pipeline = 'it''s' AND m.target_schema = 'Sales dep''t' AND m.target_table = 'or"der.s' AND m.target_column = 'tags';
-- orphans
SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM "stage_246b01ab2037f7e2" AS s LEFT JOIN "Sales dep't"."or""der.s" AS t ON t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND t._tw_valid_to IS NULL AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)) LEFT JOIN "Sales dep't"."or""der.s" AS o ON o."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND o."select" = s."select" AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL;
-- merge
UPDATE "stage_246b01ab2037f7e2" AS s SET "tags" = t."tags" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND t._tw_valid_to IS NULL AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
UPDATE "stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select") AND t._tw_valid_to IS NULL AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
DELETE FROM "Sales dep't"."or""der.s" AS t USING "stage_246b01ab2037f7e2" AS s WHERE s._tw_op = 'x' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND t._tw_valid_to IS NULL AND t._tw_lsn = s._tw_lsn AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
INSERT INTO "stage_246b01ab2037f7e2" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op, _tw_at, _tw_end) SELECT t."select", t."Weird ""quoted"".name", t."amount", t."any amount", t."tags", t."mood", t."raw", t."when", t."doc", t."ünï", t._tw_lsn, t._tw_seq, 'e', CAST(t._tw_valid_from AS VARCHAR), s._tw_at FROM "stage_246b01ab2037f7e2" AS s, "Sales dep't"."or""der.s" AS t WHERE s._tw_op = 'x' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND t._tw_valid_to IS NULL AND t._tw_lsn < s._tw_lsn;
DELETE FROM "Sales dep't"."or""der.s" AS t USING "stage_246b01ab2037f7e2" AS s WHERE s._tw_op = 'e' AND t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND t._tw_lsn = s._tw_lsn AND t._tw_seq = s._tw_seq;
DELETE FROM "Sales dep't"."or""der.s" WHERE _tw_lsn = 150 AND _tw_valid_to IS NULL AND (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
UPDATE "Sales dep't"."or""der.s" SET _tw_valid_to = TIMESTAMPTZ '2000-01-01 00:00:01.5+00' WHERE _tw_valid_to IS NULL AND (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_valid_from, _tw_valid_to) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, CAST(s._tw_at AS TIMESTAMP WITH TIME ZONE), CAST(s._tw_end AS TIMESTAMP WITH TIME ZONE) FROM "stage_246b01ab2037f7e2" AS s WHERE s._tw_op IN ('v', 'e') AND NOT EXISTS (SELECT 1 FROM "Sales dep't"."or""der.s" AS t WHERE t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND NOT (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq)));
-- appended: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT, _tw_op VARCHAR, _tw_committed_at TIMESTAMP WITH TIME ZONE, _tw_unchanged VARCHAR, _tw_old VARCHAR);
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_at VARCHAR, _tw_unchanged VARCHAR, _tw_old VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 BIGINT);
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op, _tw_committed_at, _tw_unchanged, _tw_old) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op, CAST(s._tw_at AS TIMESTAMP WITH TIME ZONE), s._tw_unchanged, s._tw_old FROM "stage_246b01ab2037f7e2" AS s;
-- copies: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT, _tw_op VARCHAR);
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR);
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE (_tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op) SELECT s."select", s."Weird ""quoted"".name", s."amount", s."any amount", s."tags", s."mood", s."raw", s."when", s."doc", s."ünï", s._tw_lsn, s._tw_seq, s._tw_op FROM "stage_246b01ab2037f7e2" AS s WHERE s._tw_op <> 'd';
DELETE FROM "Sales dep't"."or""der.s" AS t USING (SELECT t._tw_lsn, t._tw_seq, d._tw_copies, row_number() OVER (PARTITION BY d._tw_row ORDER BY t._tw_lsn, t._tw_seq) AS _tw_n FROM "Sales dep't"."or""der.s" AS t JOIN (SELECT g.*, row_number() OVER () AS _tw_row FROM (SELECT s."select" AS _tw_0, s."Weird ""quoted"".name" AS _tw_1, s."amount" AS _tw_2, s."any amount" AS _tw_3, s."tags" AS _tw_4, s."mood" AS _tw_5, s."raw" AS _tw_6, s."when" AS _tw_7, s."doc" AS _tw_8, s."ünï" AS _tw_9, count(*) AS _tw_copies FROM "stage_246b01ab2037f7e2" AS s WHERE s._tw_op = 'd' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) AS g) AS d ON t."select" IS NOT DISTINCT FROM d._tw_0 AND t."Weird ""quoted"".name" IS NOT DISTINCT FROM d._tw_1 AND t."amount" IS NOT DISTINCT FROM d._tw_2 AND t."any amount" IS NOT DISTINCT FROM d._tw_3 AND t."tags" IS NOT DISTINCT FROM d._tw_4 AND t."mood" IS NOT DISTINCT FROM d._tw_5 AND t."raw" IS NOT DISTINCT FROM d._tw_6 AND t."when" IS NOT DISTINCT FROM d._tw_7 AND t."doc" IS NOT DISTINCT FROM d._tw_8 AND t."ünï" IS NOT DISTINCT FROM d._tw_9) AS c WHERE t._tw_lsn = c._tw_lsn AND t._tw_seq = c._tw_seq AND c._tw_n <= c._tw_copies;
-- rows as text
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2_raw" ("select" VARCHAR, "Weird ""quoted"".name" VARCHAR, "amount" VARCHAR, "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" VARCHAR, "when" VARCHAR, "doc" VARCHAR, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 VARCHAR);
