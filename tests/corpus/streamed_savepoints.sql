-- 'proto_version', '2', 'streaming', 'on', 'messages', 'true'
-- also whole: 'proto_version', '1', 'messages', 'true'
-- also parallel since 16: 'proto_version', '4', 'streaming', 'parallel', 'messages', 'true'
-- What the server sends of the same transactions while they are open and when they have committed.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE rows (id int PRIMARY KEY, m mood, pad text);
ALTER TABLE rows ALTER pad SET STORAGE PLAIN;
CREATE TABLE others (id int PRIMARY KEY);
CREATE TABLE full_rows (id int, t text);
ALTER TABLE full_rows REPLICA IDENTITY FULL;
CREATE TABLE changing (id int PRIMARY KEY, a text);
CREATE TABLE unpublished (id int, pad text);
ALTER TABLE unpublished ALTER pad SET STORAGE PLAIN;
CREATE PUBLICATION corpus FOR TABLE rows (id, m), others, full_rows, changing;
SELECT pg_create_logical_replication_slot('streamed_savepoints', 'pgoutput');
-- Rolled back, released, and one inside of the other.
BEGIN;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(1, 30) i;
SELECT pg_logical_emit_message(true, 'prefix', 'first');
SAVEPOINT a;
INSERT INTO rows SELECT i, 'happy', repeat('x', 4000) FROM generate_series(31, 60) i;
SAVEPOINT b;
INSERT INTO others SELECT generate_series(1, 3);
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(61, 90) i;
ROLLBACK TO b;
INSERT INTO full_rows VALUES (1, 'kept');
INSERT INTO rows SELECT i, 'sad', repeat('y', 4000) FROM generate_series(61, 90) i;
RELEASE b;
SAVEPOINT c;
UPDATE rows SET m = 'sad', pad = repeat('z', 4000) WHERE id <= 40;
RELEASE c;
SAVEPOINT d;
DELETE FROM rows;
INSERT INTO rows SELECT i, 'sad', repeat('d', 4000) FROM generate_series(200, 230) i;
SAVEPOINT e;
INSERT INTO rows SELECT i, 'sad', repeat('e', 4000) FROM generate_series(300, 330) i;
RELEASE e;
UPDATE full_rows SET t = 'lost';
SELECT pg_logical_emit_message(true, 'prefix', 'lost');
INSERT INTO rows SELECT i, 'sad', repeat('d', 4000) FROM generate_series(400, 430) i;
ROLLBACK TO d;
UPDATE full_rows SET t = 'changed';
DELETE FROM rows WHERE id % 3 = 0;
SELECT pg_logical_emit_message(true, 'prefix', 'last');
COMMIT;
-- Named to nobody but the transaction before.
INSERT INTO others VALUES (10);
UPDATE rows SET m = 'happy' WHERE id = 1;
-- Nothing is left of these, and one had nothing that is published.
BEGIN;
SAVEPOINT a;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(501, 540) i;
ROLLBACK TO a;
COMMIT;
BEGIN;
INSERT INTO unpublished SELECT i, repeat('x', 4000) FROM generate_series(1, 40) i;
COMMIT;
BEGIN;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(501, 540) i;
ROLLBACK;
INSERT INTO others VALUES (11);
-- A table that changes its shape, also where that is rolled back.
BEGIN;
INSERT INTO changing SELECT i, 'one' FROM generate_series(1, 3) i;
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(601, 640) i;
SAVEPOINT a;
ALTER TABLE changing ADD b int DEFAULT 7;
INSERT INTO changing VALUES (4, 'two', 8);
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(641, 680) i;
ROLLBACK TO a;
INSERT INTO changing VALUES (5, 'three');
ALTER TABLE changing ADD c int DEFAULT 9;
INSERT INTO changing VALUES (6, 'four', 10);
INSERT INTO rows SELECT i, 'sad', repeat('x', 4000) FROM generate_series(641, 680) i;
TRUNCATE others;
COMMIT;
INSERT INTO changing VALUES (7, 'five', 11);
-- Open while others commit, large and small ones.
BEGIN;
INSERT INTO rows SELECT i, 'sad', repeat('p', 4000) FROM generate_series(1001, 1040) i;
INSERT INTO full_rows VALUES (2, 'prepared');
PREPARE TRANSACTION 'one';
BEGIN;
INSERT INTO rows SELECT i, 'sad', repeat('q', 4000) FROM generate_series(2001, 2040) i;
SAVEPOINT a;
INSERT INTO full_rows VALUES (3, 'lost');
INSERT INTO rows SELECT i, 'sad', repeat('q', 4000) FROM generate_series(2041, 2080) i;
ROLLBACK TO a;
INSERT INTO full_rows VALUES (3, 'beside');
PREPARE TRANSACTION 'two';
INSERT INTO others VALUES (20);
COMMIT PREPARED 'two';
INSERT INTO full_rows VALUES (4, 'between');
SELECT pg_logical_emit_message(false, 'prefix', 'alone');
COMMIT PREPARED 'one';
INSERT INTO changing VALUES (8, 'six', 12);
INSERT INTO full_rows VALUES (5, 'after');
