-- 'proto_version', '2', 'streaming', 'on', 'messages', 'true'
-- `pad` fills the server's memory, so that it streams, but is not published.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE rows (id int PRIMARY KEY, m mood, pad text);
ALTER TABLE rows ALTER pad SET STORAGE PLAIN;
CREATE TABLE others (id int PRIMARY KEY);
CREATE PUBLICATION corpus FOR TABLE rows (id, m), others;
SELECT pg_create_logical_replication_slot('streamed', 'pgoutput');
BEGIN;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(1, 20) i;
SAVEPOINT a;
INSERT INTO rows SELECT i, 'happy', repeat('x', 4000) FROM generate_series(21, 45) i;
SELECT pg_logical_emit_message(true, 'prefix', 'undone');
ROLLBACK TO a;
INSERT INTO others VALUES (1);
SELECT pg_logical_emit_message(true, 'prefix', 'kept');
UPDATE rows SET id = id + 100, pad = repeat('y', 4000) WHERE id <= 15;
DELETE FROM rows WHERE id <= 18;
TRUNCATE rows, others;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(1, 20) i;
COMMIT;
INSERT INTO others VALUES (2);
BEGIN;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(201, 240) i;
ROLLBACK;
INSERT INTO others VALUES (3);
