//! A shop: its tables, its customers, its nightly batch, and what is deployed on a Friday.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::session::Session;

pub(super) const SCHEMA: &str = "
    create type state as enum ('placed', 'paid', 'shipped');
    create table customers (id int primary key, name text, joined timestamptz not null default now(), vip boolean not null default false, note text);
    create table products (sku text primary key, price numeric(10,2) not null, doc jsonb, body text, stock int not null default 1000);
    alter table products alter body set storage external;
    create sequence order_ids;
    create table orders (id bigint primary key, customer int not null, items int not null, state state not null default 'placed', total numeric(12,2));
    create table lines (order_id bigint, line int, sku text not null, quantity int not null, primary key (order_id, line));
    create table clicks (customer int not null, page text not null, at timestamptz not null default clock_timestamp());
    create sequence visit_ids;
    create table visits (id bigint, day int, page text, primary key (id, day)) partition by list (day);
    create table visits_0 partition of visits for values in (0);
    create table report (state text primary key, orders bigint);
    create table beats (n bigint primary key);
    insert into customers (id, name, note) select g, 'customer ' || g, repeat('n', g % 50) from generate_series(1, 300) g;
    insert into products select 'sku-' || g, g % 97 + 0.99, jsonb_build_object('g', g, 'tags', array['a', null]), repeat(md5(g::text), 120) from generate_series(1, 100) g";

/// What happens at night.
pub(super) const BATCH: [&str; 6] = [
    "update customers set vip = id in (select customer from orders group by 1 order by count(*) desc limit 20)",
    "delete from orders where state = 'shipped' and id < (select max(id) - 300 from orders)",
    "delete from lines where not exists (select from orders where id = order_id)",
    "begin; truncate report; insert into report select state::text, count(*) from orders group by 1; commit",
    "vacuum full orders",
    "vacuum full products",
];

/// What a Friday evening brings, each in a transaction of its own unless it says otherwise.
pub(super) fn deploy(day: u64) -> Vec<String> {
    let (name, other) = if day.is_multiple_of(2) { ("name", "full_name") } else { ("full_name", "name") };
    let key = if day.is_multiple_of(2) { "order_id, line, sku" } else { "order_id, line" };
    let mut all = vec![
        format!("alter table customers add city_{day} text not null default 'Delft {day}'"),
        format!("alter table customers rename {name} to {other}"),
        format!("alter type state add value 'returned_{day}'"),
        format!("update orders set state = 'returned_{day}' where id % 17 = 0"),
        format!("alter table orders add weight_{day} int not null default {day}"),
        format!("update orders set weight_{day} = id % 1000 where id % 3 = 0"),
        format!(
            "begin; alter table orders alter weight_{day} type bigint; update orders set weight_{day} = 9000000000 where id % 5 = 0; commit"
        ),
        format!("create table coupons_{day} (code text primary key, worth numeric(8,2), until date)"),
        format!("insert into coupons_{day} select 'c' || g, g, date '2030-01-01' + g from generate_series(1, 50) g"),
        format!("create table visits_{0} partition of visits for values in ({0})", day + 1),
        format!(
            "begin; create table early_{0} (id bigint, day int, page text, primary key (id, day));
             alter table visits attach partition early_{0} for values in (-{0}); commit",
            day + 1
        ),
        format!("insert into visits select g, -{0}, 'early' from generate_series(1, 20) g", day + 1),
        format!("alter table lines drop constraint lines_pkey, add constraint lines_pkey primary key ({key})"),
        "update lines set quantity = quantity + 1 where line = 1".to_owned(),
        "begin; alter table customers drop note, add note int not null default 7; commit".to_owned(),
        "update customers set note = id where id % 4 = 0".to_owned(),
        format!("alter table products add since_{day} timestamptz not null default now()"),
        "begin; alter table products rename stock to between; alter table products rename column between to stock; commit".to_owned(),
        "begin; drop table report; create table report (state text primary key, orders int, made timestamptz default now());
         insert into report select state::text, count(*) from orders group by 1; commit"
            .to_owned(),
    ];
    if day > 0 {
        all.push(format!("alter table customers drop city_{}", day - 1));
        all.push(format!("alter table orders drop weight_{}", day - 1));
        all.push(format!("drop table coupons_{}", day - 1));
    }
    all
}

/// Customers at work, however often the server goes away.
pub(super) struct Shop {
    open: Arc<AtomicBool>,
    /// Milliseconds between two transactions of a customer.
    pause: Arc<AtomicU64>,
    pub(super) committed: Arc<AtomicU64>,
    customers: Vec<JoinHandle<()>>,
}

impl Shop {
    pub(super) fn start(url: &str, customers: u64, seed: u64) -> Shop {
        let mut shop = Shop {
            open: Arc::new(AtomicBool::new(true)),
            pause: Arc::new(AtomicU64::new(20)),
            committed: Arc::default(),
            customers: Vec::new(),
        };
        for customer in 0..customers {
            let (open, pause) = (Arc::clone(&shop.open), Arc::clone(&shop.pause));
            let (committed, url) = (Arc::clone(&shop.committed), url.to_owned());
            let mut random = StdRng::seed_from_u64(seed ^ customer);
            shop.customers.push(std::thread::spawn(move || {
                let mut session = None;
                while open.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(pause.load(Ordering::Relaxed)));
                    let Some(open) = session.as_ref() else {
                        session = Session::connect(&url).ok();
                        continue;
                    };
                    match Session::try_sql(open, &format!("begin; {}; commit", buy(&mut random))) {
                        Ok(_) => _ = committed.fetch_add(1, Ordering::Relaxed),
                        // Another was quicker, or something is being deployed; else the server is away.
                        Err(error) if error.as_db_error().is_some() && open.try_sql("rollback").is_ok() => {}
                        Err(_) => session = None,
                    }
                }
            }));
        }
        shop
    }

    pub(super) fn pace(&self, pause: u64) {
        self.pause.store(pause, Ordering::Relaxed);
    }

    /// Waits until so many more transactions have committed.
    pub(super) fn sell(&self, count: u64) {
        let goal = self.committed.load(Ordering::Relaxed) + count;
        crate::support::eventually("the shop sells", Duration::from_secs(120), || {
            (self.committed.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    pub(super) fn close(self) -> u64 {
        self.open.store(false, Ordering::Relaxed);
        self.customers.into_iter().for_each(|customer| customer.join().unwrap());
        self.committed.load(Ordering::Relaxed)
    }
}

/// One transaction.
fn buy(random: &mut StdRng) -> String {
    let (dice, customer, x) = (random.random_range(0..100), random.random_range(1..=300), random.random::<u32>());
    let (product, some) = (x % 100 + 1, 1 + x % 9);
    match dice {
        0..45 => format!(
            "with o as (insert into orders (id, customer, items, total) values (nextval('order_ids'), {customer}, {some}, {some} * 1.10) returning id)
             insert into lines select id, n, 'sku-' || ({product} + n), n from o, generate_series(1, {some}) n;
             insert into clicks values ({customer}, '/checkout'); update products set stock = stock - 1 where sku = 'sku-{product}'"
        ),
        45..60 => format!(
            "update orders set state = 'shipped', total = total + 0.25 where id in (select id from orders where state = 'placed' order by id limit {some})"
        ),
        60..68 => format!("update lines set line = line + 100, quantity = {some} where order_id = (select max(id) - {some} from orders)"),
        68..73 => format!("delete from lines where order_id = (select max(id) - {some} from orders) and line % 2 = 0"),
        73..78 => format!("update customers set vip = not vip, joined = clock_timestamp() where id = {customer}"),
        78..81 => format!("insert into customers (id) select max(id) + 1 from customers; update customers set id = id + 100000 where id = {customer} and not exists (select from customers where id = {customer} + 100000)"),
        81..85 => format!("update products set doc = jsonb_build_object('x', {x}, 'ü', null), price = price + 0.10 where sku = 'sku-{product}'"),
        85..87 => format!("update products set body = repeat(md5('{x}'), 150) where sku = 'sku-{product}'"),
        87..95 => "insert into visits select nextval('visit_ids'), (select max(substring(relname from 'visits_(\\d+)$')::int) from pg_class where relname ~ '^visits_\\d+$'), '/p'".to_owned(),
        95..97 => format!("update visits set page = page || '{some}' where id % 10 = {some}"),
        97 => format!("update visits set day = 0 where id % 50 = {some}; delete from visits where id % 70 = {some}"),
        98 => format!("update orders set id = nextval('order_ids') where id = (select max(id) from orders where customer = {customer})"),
        _ => format!("insert into clicks select g, '/mailing {x}' from generate_series(1, 200) g"),
    }
}
