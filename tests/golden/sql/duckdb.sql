-- control tables
CREATE SCHEMA IF NOT EXISTS _tailwater;
CREATE TABLE IF NOT EXISTS _tailwater.progress (pipeline VARCHAR NOT NULL, system_id VARCHAR, timeline bigint, lsn bigint, commit_lsn bigint, seq bigint, phase VARCHAR, fence bigint NOT NULL, updated_at TIMESTAMP WITH TIME ZONE, committed_at TIMESTAMP WITH TIME ZONE);
CREATE TABLE IF NOT EXISTS _tailwater.offsets (pipeline VARCHAR NOT NULL, topic VARCHAR NOT NULL, part integer NOT NULL, next_offset bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.followed (pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, table_oid bigint NOT NULL, publication_oid bigint NOT NULL, entry_oid bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.tables (target_schema VARCHAR NOT NULL, target_table VARCHAR NOT NULL, pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.stopped (pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, since TIMESTAMP WITH TIME ZONE NOT NULL, reason VARCHAR NOT NULL, remedy VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _tailwater.held (pipeline VARCHAR NOT NULL, source_schema VARCHAR NOT NULL, source_table VARCHAR NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL, part integer NOT NULL, changes bigint NOT NULL, bytes bigint NOT NULL, content VARCHAR NOT NULL);
-- progress
INSERT INTO _tailwater.progress (pipeline, fence) SELECT 'it''s', 0 WHERE NOT EXISTS (SELECT 1 FROM _tailwater.progress WHERE pipeline = 'it''s');
UPDATE _tailwater.progress SET fence = fence + 1 WHERE pipeline = 'it''s';
SELECT fence, system_id, timeline, lsn, commit_lsn, seq, phase FROM _tailwater.progress WHERE pipeline = 'it''s';
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
-- with a key of two columns: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT NOT NULL, "Weird ""quoted"".name" VARCHAR NOT NULL, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT);
-- add a column
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "ünï" VARCHAR;
-- look at it
SELECT column_name, data_type, CASE WHEN is_nullable THEN 'value' ELSE 'key' END FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'Sales dep''t' AND table_name = 'or"der.s' ORDER BY column_index;
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2_raw" ("select" VARCHAR, "Weird ""quoted"".name" VARCHAR, "amount" VARCHAR, "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" VARCHAR, "when" VARCHAR, "doc" VARCHAR, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 VARCHAR);
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR, _tw_base_1 VARCHAR, _tw_base_2 BIGINT);
-- empty it
DELETE FROM "stage_246b01ab2037f7e2";
-- orphans
SELECT count(*) FROM "stage_246b01ab2037f7e2" s WHERE s._tw_missing IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "Sales dep't"."or""der.s" t WHERE t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select"));
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE _tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0);
UPDATE "stage_246b01ab2037f7e2" AS s SET "tags" = t."tags" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 5, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select");
UPDATE "stage_246b01ab2037f7e2" AS s SET "raw" = t."raw" FROM "Sales dep't"."or""der.s" AS t WHERE substr(s._tw_missing, 7, 1) = '1' AND t."Weird ""quoted"".name" = coalesce(s._tw_base_1, s."Weird ""quoted"".name") AND t."select" = coalesce(s._tw_base_2, s."select");
DELETE FROM "Sales dep't"."or""der.s" AS t USING "stage_246b01ab2037f7e2" AS s WHERE t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select" AND (t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq));
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq) SELECT "select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq FROM "stage_246b01ab2037f7e2" AS s WHERE s._tw_op <> 'd' AND NOT EXISTS (SELECT 1 FROM "Sales dep't"."or""der.s" AS t WHERE t."Weird ""quoted"".name" = s."Weird ""quoted"".name" AND t."select" = s."select");
-- without a key: create
CREATE SCHEMA IF NOT EXISTS "Sales dep't";
CREATE TABLE IF NOT EXISTS "Sales dep't"."or""der.s" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn BIGINT, _tw_seq BIGINT, _tw_op VARCHAR);
-- add a column
ALTER TABLE "Sales dep't"."or""der.s" ADD COLUMN IF NOT EXISTS "ünï" VARCHAR;
-- look at it
SELECT column_name, data_type, CASE WHEN is_nullable THEN 'value' ELSE 'key' END FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'Sales dep''t' AND table_name = 'or"der.s' ORDER BY column_index;
-- staging table
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2_raw" ("select" VARCHAR, "Weird ""quoted"".name" VARCHAR, "amount" VARCHAR, "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" VARCHAR, "when" VARCHAR, "doc" VARCHAR, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR);
CREATE OR REPLACE TEMP TABLE "stage_246b01ab2037f7e2" ("select" BIGINT, "Weird ""quoted"".name" VARCHAR, "amount" DECIMAL(12,3), "any amount" VARCHAR, "tags" VARCHAR, "mood" VARCHAR, "raw" BLOB, "when" TIMESTAMP WITH TIME ZONE, "doc" JSON, "ünï" VARCHAR, _tw_lsn bigint, _tw_seq bigint, _tw_op VARCHAR, _tw_missing VARCHAR);
-- empty it
DELETE FROM "stage_246b01ab2037f7e2";
-- orphans
SELECT count(*) FROM "stage_246b01ab2037f7e2" s WHERE s._tw_missing IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "Sales dep't"."or""der.s" t WHERE );
-- merge
DELETE FROM "Sales dep't"."or""der.s" WHERE _tw_lsn < 150 OR (_tw_lsn = 150 AND _tw_seq < 0);
INSERT INTO "Sales dep't"."or""der.s" ("select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op) SELECT "select", "Weird ""quoted"".name", "amount", "any amount", "tags", "mood", "raw", "when", "doc", "ünï", _tw_lsn, _tw_seq, _tw_op FROM "stage_246b01ab2037f7e2";
-- parse what was staged as text
INSERT INTO "stage_246b01ab2037f7e2" SELECT CAST("select" AS BIGINT), "Weird ""quoted"".name", CAST("amount" AS DECIMAL(12,3)), "any amount", "tags", "mood", unhex(substr("raw", 3)), CAST(CASE WHEN "when" LIKE '% BC' THEN regexp_replace("when", '^(\S+) (.*) BC$', '\1 (BC) \2') ELSE "when" END AS TIMESTAMP WITH TIME ZONE), CAST("doc" AS JSON), "ünï", _tw_lsn, _tw_seq, _tw_op, _tw_missing, _tw_base_1, CAST(_tw_base_2 AS BIGINT) FROM "stage_246b01ab2037f7e2_raw";
