-- 'proto_version', '3', 'streaming', 'on'
CREATE TABLE rows (id int PRIMARY KEY, pad text);
ALTER TABLE rows ALTER pad SET STORAGE PLAIN;
CREATE PUBLICATION corpus FOR TABLE rows (id);
SELECT pg_create_logical_replication_slot('streamed_prepared', 'pgoutput', false, true);
BEGIN;
INSERT INTO rows SELECT i, repeat('x', 4000) FROM generate_series(1, 30) i;
PREPARE TRANSACTION 'large';
COMMIT PREPARED 'large';
BEGIN;
INSERT INTO rows SELECT i, repeat('x', 4000) FROM generate_series(101, 120) i;
PREPARE TRANSACTION 'undone';
ROLLBACK PREPARED 'undone';
