-- 'proto_version', '3'
CREATE TABLE rows (id int PRIMARY KEY);
CREATE PUBLICATION corpus FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('prepared', 'pgoutput', false, true);
BEGIN;
INSERT INTO rows VALUES (1);
PREPARE TRANSACTION 'first';
BEGIN;
INSERT INTO rows VALUES (2);
PREPARE TRANSACTION 'second';
INSERT INTO rows VALUES (3);
COMMIT PREPARED 'first';
ROLLBACK PREPARED 'second';
