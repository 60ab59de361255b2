--- title logical messages
--- snapshot
create table a (id int primary key, v text);
--- step
insert into a values (1, 'one');
begin; insert into a values (2, 'two'); select pg_logical_emit_message(true, 'prefix', 'in a transaction'); insert into a values (3, 'three'); commit;
select pg_logical_emit_message(true, 'alone', '{"json": "é😀"}');
select pg_logical_emit_message(false, 'at once', '\x00ff'::bytea);
begin; select pg_logical_emit_message(true, 'never', 'rolled back'); rollback;
begin; insert into a values (99, 'x'); select pg_logical_emit_message(false, 'kept', 'without the row'); rollback;
select pg_logical_emit_message(true, '', '');
insert into a values (4, 'four');
