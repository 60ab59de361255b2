--- title types that one side leaves out or can't read, and values without a number
--- snapshot
create type mood as enum ('sad', 'ok');
create type pair as (n int, t text);
create domain price as numeric(8,2);
create domain low_price as price check (value < 10);
create type a_range as range (subtype = float8);
create table left_out (id int primary key, mrng int4multirange, q tsquery, lsn pg_lsn, comp pair, a_line line, a_box box, a_circle circle, a_seg lseg, a_path path, a_polygon polygon, custom a_range, cls regclass, x8 xid8, comps pair[], moneys money[], spans interval[], xmls xml[], pts point[], names name[], doms price[], v text);
create table unread (id int primary key, nm name, n numeric, n82 numeric(8,2), bits bit(3)[], deep int[], texts text[], bounds int[], n_list numeric[], low low_price, c1 "char");
create table ends (id int primary key, d date, ts timestamp, ts3 timestamp(3), tz timestamptz, dl date[], tsl timestamp[]);
create table generated (id int primary key, a int, b int generated always as (a * 2) stored, c text);
create table inherited (id int primary key, v text);
create table child (extra int) inherits (inherited);
create unlogged table unlogged (id int primary key);
create table bytes (id int primary key, a bytea[], b bytea);
insert into left_out values (1,'{[1,5),[7,9)}','fat & rat','16/B374D848',row(1,'a b'),'{1,2,3}','(1,1),(0,0)','<(1,2),3>','[(0,0),(1,1)]','((0,0),(1,1))','((0,0),(1,1),(1,0))','[1.5,2.5)','pg_class','42',array[row(1,'x')::pair],'{1.5,NULL}','{1 day,NULL}','{<a/>}','{"(1,2)",NULL}','{a,b}','{1.25,NULL}','snapshot');
insert into unread values (1,'a_name','1.5','2.5','{101,001}','{{1,2},{3,NULL}}','{a,b}','{1,2}','{1.5}',1.5,'c');
insert into generated (id, a, c) values (1, 2, 'snapshot');
--- step
insert into left_out values (2,'{[1,5),[7,9)}','fat & rat','16/B374D848',row(1,'a b'),'{1,2,3}','(1,1),(0,0)','<(1,2),3>','[(0,0),(1,1)]','((0,0),(1,1))','((0,0),(1,1),(1,0))','[1.5,2.5)','pg_class','42',array[row(1,'x')::pair],'{1.5,NULL}','{1 day,NULL}','{<a/>}','{"(1,2)",NULL}','{a,b}','{1.25,NULL}','stream');
insert into unread values (2,'a_name','NaN','NaN','{101,001}','{{1,2},{3,NULL}}','{{a,b}}','[0:1]={1,2}','{NaN,1}',1.5,'c');
insert into unread values (3,null,null,null,null,null,null,null,null,null,null);
insert into ends values (2,'infinity','infinity','infinity','infinity','{infinity}','{-infinity}');
insert into ends values (3,'-infinity','-infinity','-infinity','-infinity','{-infinity}','{infinity}');
insert into ends values (4,'0044-03-15 BC','0044-03-15 12:00 BC','0044-03-15 12:00 BC','0044-03-15 12:00+00 BC','{0044-03-15 BC}','{0044-03-15 12:00 BC}');
insert into ends values (5,'12345-01-02','12345-01-02 12:00','12345-01-02 12:00','12345-01-02 12:00+00','{12345-01-02}','{12345-01-02 12:00}');
insert into generated (id, a, c) values (2, 3, 'stream');
update generated set a = 5 where id = 2;
insert into inherited values (1, 'parent');
insert into child values (2, 'child', 3);
insert into bytes values (1, '{"\\x00ff",NULL,"\\x"}', '\x00');
