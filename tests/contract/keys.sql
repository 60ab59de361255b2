--- title keys of every kind, changed keys, deletes, truncates
--- snapshot
create table t (id int primary key, v text);
create table k2 (a int, b text, c numeric(5,2), v text, primary key (b, a));
create table nokey (a int, v text);
create table fullkey (a int, v text);
alter table fullkey replica identity full;
create table onlyindex (u int not null, w text not null, v text);
create unique index onlyindex_wu on onlyindex (w, u);
alter table onlyindex replica identity using index onlyindex_wu;
create table uniq (a int unique, v text);
alter table uniq replica identity full;
create table keys (u uuid, ts timestamptz, n numeric(6,2), b bytea, t text, primary key (u, ts, n, b, t));
create table nn (id int primary key, i int not null, s smallint not null, l bigint not null, r real not null, d double precision not null, b boolean not null, n numeric(8,2) not null, v numeric not null, t text not null, c char(3) not null, day date not null, tm time not null, tm3 time(3) not null, ts timestamp not null, ts3 timestamp(3) not null, tz timestamptz not null, tmz timetz not null, iv interval not null, u uuid not null, j json not null, jb jsonb not null, ba bytea not null, bi bit not null, bi8 bit(8) not null, m money not null, pt point not null, ip inet not null, ai int[] not null, at text[] not null, nl text);
insert into t values (1,'one'),(2,null);
insert into k2 values (1,'x',1.5,'v');
insert into nokey values (1,'a');
--- step
insert into t values (3,'three');
update t set v='two' where id=2;
update t set v='two' where id=2;
update t set id=20 where id=2;
update t set id=id+100;
delete from t where id=3;
delete from t;
insert into nokey values (2,'b');
insert into fullkey values (1,'a');
update fullkey set v='b';
update fullkey set v=null;
delete from fullkey;
insert into onlyindex values (10,'w','v');
update onlyindex set v='v2';
update onlyindex set u=11;
delete from onlyindex;
insert into uniq values (1,'a'),(null,'b');
update uniq set v='c' where a is null;
update uniq set a=5 where a is null;
delete from uniq;
update k2 set a=9 where b='x';
update k2 set v='w' where b='x';
delete from k2 where b='x';
insert into keys values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','2020-01-01 00:00:00.5+00',0.50,'\x01ff','k');
update keys set n=1.25;
delete from keys;
insert into nn values (1,1,1,1,1,1,true,1,1,'x','abc','2020-01-01','01:00','01:00','2020-01-01','2020-01-01','2020-01-01','01:00+00','1 day','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','{}','{}','\x01','1','00000001',1,'(1,2)','1.1.1.1','{1}','{a}',null);
delete from nn;
--- step
insert into t values (7,'x'),(8,'y');
truncate t, k2;
begin; truncate fullkey; insert into fullkey values (7,'x'); commit;
begin; insert into t values (5,'tx'); update t set id=6 where id=5; delete from t where id=6; insert into k2 values (2,'y',2.25,null); commit;
begin; insert into t values (99); rollback;
--- step
alter table t replica identity full;
insert into t values (50,'x');
update t set v='y';
update t set id=51;
delete from t;
