-- 'proto_version', '1', 'messages', 'true'
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN cents AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TABLE orders (id bigint PRIMARY KEY, note text, total numeric(10, 2));
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
CREATE TABLE kinds (a int, b text, m mood, c cents, ms mood[], ts timestamptz(3)[], by bytea, j jsonb, PRIMARY KEY (b, a));
CREATE TABLE whole (id int, note text);
ALTER TABLE whole ALTER note SET STORAGE EXTERNAL;
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE indexed (id int PRIMARY KEY, code text NOT NULL, note text);
CREATE UNIQUE INDEX indexed_code ON indexed (code);
ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_code;
CREATE TABLE ledger (at int, what text);
ALTER TABLE ledger REPLICA IDENTITY NOTHING;
CREATE TABLE empty ();
CREATE TABLE "sp ace.""q""; ünï" ("select" int PRIMARY KEY, "dot.ted" text);
CREATE PUBLICATION corpus FOR ALL TABLES WITH (publish = 'insert, truncate');
SELECT pg_create_logical_replication_slot('plain', 'pgoutput');
INSERT INTO ledger VALUES (1, 'nothing'), (2, NULL);
ALTER PUBLICATION corpus SET (publish = 'insert, update, delete, truncate');
DROP TABLE ledger;

INSERT INTO orders VALUES (1, repeat('x', 2500), 1.50), (2, NULL, NULL), (3, '', 0);
UPDATE orders SET total = 2 WHERE id = 1;
UPDATE orders SET id = 11 WHERE id = 1;
UPDATE orders SET note = 'short' WHERE id = 11;
DELETE FROM orders WHERE id = 2;

INSERT INTO kinds VALUES (1, 'k', 'it''s ok', 9.99, '{sad,NULL,happy}', '{2026-01-02 03:04:05.678+00}', '\x00ff', '{"a": [1, null]}');
UPDATE kinds SET m = 'happy' WHERE a = 1;
UPDATE kinds SET b = 'other' WHERE a = 1;
DELETE FROM kinds;

INSERT INTO whole VALUES (1, repeat('y', 2500)), (NULL, NULL);
UPDATE whole SET id = 2 WHERE id = 1;
DELETE FROM whole WHERE id IS NULL;

INSERT INTO indexed VALUES (1, 'one', 'n'), (2, 'two', NULL);
UPDATE indexed SET note = 'm' WHERE id = 1;
UPDATE indexed SET code = 'uno' WHERE id = 1;
DELETE FROM indexed WHERE id = 2;

INSERT INTO empty DEFAULT VALUES;
INSERT INTO "sp ace.""q""; ünï" VALUES (1, 'ö');

BEGIN;
INSERT INTO orders VALUES (20, 'kept', 1);
SAVEPOINT a;
INSERT INTO orders VALUES (21, 'undone', 1);
ROLLBACK TO a;
SELECT pg_logical_emit_message(true, 'prefix', 'inside');
SELECT pg_logical_emit_message(false, '', 'at once');
TRUNCATE orders, whole RESTART IDENTITY CASCADE;
TRUNCATE kinds;
INSERT INTO orders VALUES (20, 'again', 1);
COMMIT;

BEGIN;
INSERT INTO orders VALUES (30, 'old shape', 1);
ALTER TABLE orders ADD COLUMN more int DEFAULT 5;
INSERT INTO orders VALUES (31, 'new shape', 1, 6);
ALTER TABLE orders RENAME note TO remark;
ALTER TABLE orders DROP COLUMN total;
UPDATE orders SET more = 7 WHERE id = 31;
COMMIT;

SELECT pg_replication_origin_create('elsewhere');
SELECT pg_replication_origin_session_setup('elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/ABCDEF', '2026-01-01 00:00:00+00');
INSERT INTO orders VALUES (40, 'from elsewhere', 1);
COMMIT;
