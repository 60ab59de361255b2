--- title names that need quotes, and characters beyond ASCII
--- only json
--- snapshot
create schema "In v";
create table "In v"."Odd.Name tbl" (id int primary key, "col-1" text, "ünï" text, "Sp ace" int, "1lead" int, "a.b" text, "q""uote" text, "back\slash" text, "tab	" text, "select" int, "😀" text);
create table "Ünicode" ("Schlüssel" int primary key, v text);
create table "UPPER" ("ID" int primary key, "Id2" text);
create table "😀" (id int primary key);
create table strings (k text primary key, v text);
insert into "In v"."Odd.Name tbl" values (1,'a','b',3,4,'5','6','7','8',9,'10');
insert into strings values ('snapshot 😀 é "q" \ /'||chr(9), '😀é');
--- step
insert into "In v"."Odd.Name tbl" values (2,'a','b',3,4,'5','6','7','8',9,'10');
update "In v"."Odd.Name tbl" set id=3 where id=2;
update "In v"."Odd.Name tbl" set "q""uote"='x' where id=3;
delete from "In v"."Odd.Name tbl";
insert into "Ünicode" values (1,'u');
insert into "UPPER" values (1,'u');
insert into "😀" values (1);
insert into strings values ('stream 😀 é "q" \ /'||chr(9), '😀é𝒳');
update strings set k = 'other 😀' where k like 'stream%';
delete from strings;
