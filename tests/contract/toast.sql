--- title large values that did not change
--- snapshot
create table toast (id int primary key, v text, vc varchar, c bpchar, b bytea, j json, jb jsonb, x xml, ta text[], n int, ba bytea[]);
alter table toast alter v set storage external;
alter table toast alter vc set storage external;
alter table toast alter c set storage external;
alter table toast alter b set storage external;
alter table toast alter j set storage external;
alter table toast alter jb set storage external;
alter table toast alter x set storage external;
alter table toast alter ta set storage external;
alter table toast alter ba set storage external;
insert into toast values (1,repeat('x',3000),repeat('x',3000),repeat('x',3000),decode(repeat('ab',3000),'hex'),to_json(repeat('y',3000)),to_jsonb(repeat('y',3000)),('<a>'||repeat('y',3000)||'</a>')::xml,array[repeat('z',3000)],1,array[decode(repeat('cd',3000),'hex')]);
--- step
update toast set n=2;
update toast set v='small', n=3;
update toast set id=2;
delete from toast;
insert into toast values (3,repeat('x',3000),repeat('x',3000),repeat('x',3000),decode(repeat('ab',3000),'hex'),to_json(repeat('y',3000)),to_jsonb(repeat('y',3000)),('<a>'||repeat('y',3000)||'</a>')::xml,array[repeat('z',3000)],1,array[decode(repeat('cd',3000),'hex')]);
update toast set n=4;
--- step
alter table toast replica identity full;
update toast set n=5;
update toast set id=4;
delete from toast;
