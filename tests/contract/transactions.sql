--- title transactions, and what is told of them
--- tailwater transaction_metadata = true
--- debezium provide.transaction.metadata=true
--- snapshot
create table a (id int primary key, v text);
create table b (id int primary key, v text);
insert into a values (1, 'one');
--- step
insert into a values (2, 'two');
begin; insert into a values (3, 'x'); insert into b values (3, 'x'); update a set v = 'y' where id = 3; update a set id = 4 where id = 3; delete from b; commit;
begin; insert into a values (99, 'x'); rollback;
begin; savepoint s; insert into a values (98, 'x'); rollback to s; insert into a values (5, 'x'); commit;
insert into a select g, 'many' from generate_series(100, 120) g;
update a set v = 'same';
begin; truncate a, b; insert into a values (6, 'x'); commit;
begin; commit;
begin; insert into a values (7, 'x'); select pg_logical_emit_message(true, 'prefix', 'in a transaction'); insert into b values (7, 'x'); commit;
select pg_logical_emit_message(true, 'alone', 'content');
