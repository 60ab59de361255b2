--- title JSON without schemas, and heartbeats
--- only plain
--- tailwater heartbeat_seconds = 1
--- debezium heartbeat.interval.ms=1000
--- snapshot
create table t (id int primary key, v text, n numeric(6,2), d date, ts timestamptz, a int[], b bytea);
alter table t replica identity full;
create table named ("Odd name" text primary key, v jsonb);
insert into t values (1, 'one', 1.50, '2020-02-29', '2020-01-01 00:00:00.5+00', '{1,null}', '\x01ff'), (2, null, null, null, null, null, null);
insert into named values ('ä "q" 😀', '{"a": 1}');
--- step
insert into t values (3, 'three', -0.01, '1969-12-31', '1969-12-31 23:59:59+00', '{}', '');
update t set v = 'two' where id = 2;
update t set id = 20 where id = 2;
delete from t where id = 3;
update named set "Odd name" = 'b';
delete from named;
truncate t;
select pg_logical_emit_message(true, 'prefix', 'content');
select pg_sleep(2);
--- step
insert into t values (5, 'after the pause', 0, null, null, null, null);
select pg_sleep(2);
