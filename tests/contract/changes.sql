--- title schemas that change while they are followed
--- snapshot
create table t (id int primary key, v text);
insert into t values (1,'one');
--- step
insert into t values (2,'two');
--- step
alter table t add column d int;
insert into t values (3,'x',7);
update t set d=8 where id=1;
--- step
alter table t add column nn int not null default 5;
alter table t alter column nn drop default;
insert into t values (4,'z',1,2);
--- step
alter table t drop column v;
insert into t values (10,1,2);
delete from t where id=10;
--- step
alter table t rename column d to e;
insert into t values (11,5,2);
--- step
alter table t alter column e type bigint;
insert into t values (12,5000000000,2);
--- step
update t set e=0 where e is null;
--- step
alter table t alter column e set not null;
insert into t values (13,1,2);
--- step
alter table t alter column e type numeric(14,3);
insert into t values (14,1.5,2);
--- step
alter table t alter column nn drop not null;
insert into t values (15,1.5,null);
