-- 'proto_version', '1', 'binary', 'true'
CREATE TABLE kinds (id bigint PRIMARY KEY, f float8, n numeric, t text, b bytea, at timestamptz, u uuid, a int[]);
CREATE PUBLICATION corpus FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('binary', 'pgoutput');
INSERT INTO kinds VALUES (1, 1.5, 12.30, 'text', '\x00ff', '2026-01-02 03:04:05Z', '00000000-0000-0000-0000-000000000001', '{1,NULL}'),
    (2, 'NaN', NULL, '', '', 'infinity', NULL, '{}');
UPDATE kinds SET id = 3 WHERE id = 2;
DELETE FROM kinds WHERE id = 3;
