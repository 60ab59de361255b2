-- Something to follow.
create table customers (id bigint generated always as identity primary key, name text not null, email text);
create table orders (
    id bigint generated always as identity primary key,
    customer bigint not null references customers,
    total numeric(12, 2) not null,
    placed_at timestamptz not null default now()
);
insert into customers (name, email) values ('Ada', 'ada@example.org'), ('Grace', null);
insert into orders (customer, total) values (1, 19.90), (2, 5.00), (1, 120.00);
