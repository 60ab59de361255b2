//! A small shop: customers, products, orders, and visits that have no key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio_postgres::Client;

use crate::adapters::postgres::{self, Endpoint};
use crate::model::{Error, Result};

/// Where its tables are.
pub(super) const SCHEMA: &str = "tailwater_demo";

const TABLES: &str = "
    CREATE SCHEMA tailwater_demo;
    CREATE TABLE tailwater_demo.customers (id bigint PRIMARY KEY, name text NOT NULL, joined timestamptz NOT NULL, vip boolean NOT NULL);
    CREATE TABLE tailwater_demo.products (sku text PRIMARY KEY, price numeric(10,2) NOT NULL, stock integer NOT NULL, description text);
    CREATE TABLE tailwater_demo.orders (id bigint PRIMARY KEY, customer bigint NOT NULL, total numeric(12,2) NOT NULL, state text NOT NULL, placed timestamptz NOT NULL);
    CREATE TABLE tailwater_demo.order_lines (order_id bigint, line integer, sku text NOT NULL, quantity integer NOT NULL, PRIMARY KEY (order_id, line));
    CREATE TABLE tailwater_demo.visits (customer bigint NOT NULL, page text NOT NULL, at timestamptz NOT NULL);
    INSERT INTO tailwater_demo.customers SELECT g, 'customer ' || g, now(), g % 20 = 0 FROM generate_series(1, 2000) g;
    INSERT INTO tailwater_demo.products SELECT 'sku-' || g, (g % 97) + 0.99, 1000, repeat('a fine thing ' || g || ', ', 200) FROM generate_series(1, 500) g;
    CREATE SEQUENCE tailwater_demo.order_ids;";

/// Creates the tables and the stock.
pub(super) async fn open(client: &Client) -> Result<()> {
    client.batch_execute(TABLES).await.map_err(|error| {
        Error::blocked(format!("the shop's tables can't be made in schema {SCHEMA}"))
            .remedy("the database's user needs to create schemas; drop the schema if an earlier demo left it")
            .because(error)
    })
}

/// What happens in production on a Friday night.
pub(super) async fn grow(client: &Client) -> Result<()> {
    client
        .batch_execute("ALTER TABLE tailwater_demo.customers ADD COLUMN city text; UPDATE tailwater_demo.customers SET city = 'Delft' WHERE id % 10 = 0")
        .await
        .map_err(lost)
}

/// Customers at work.
pub(super) struct Shop {
    open: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Shop {
    pub(super) async fn start(endpoint: &Endpoint, writers: usize) -> Result<Shop> {
        let mut shop = Shop { open: Arc::new(AtomicBool::new(true)), written: Arc::default(), writers: Vec::new() };
        for _ in 0..writers {
            let client = postgres::connect(endpoint, "tailwater demo shop").await?;
            let (open, written) = (Arc::clone(&shop.open), Arc::clone(&shop.written));
            shop.writers.push(tokio::spawn(async move {
                while open.load(Ordering::Relaxed) {
                    if sell(&client).await? {
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(())
            }));
        }
        Ok(shop)
    }

    /// Sends everybody home; returns how many transactions committed.
    pub(super) async fn close(self) -> Result<u64> {
        self.open.store(false, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.map_err(|error| Error::bug("a customer panicked").because(error))??;
        }
        Ok(self.written.load(Ordering::Relaxed))
    }
}

/// One transaction; `false` when it lost against another one.
async fn sell(client: &Client) -> Result<bool> {
    let (dice, customer, product) = {
        let mut random = rand::rng();
        (random.random_range(0..100), random.random_range(1..=2000), random.random_range(1..=500))
    };
    let sql = match dice {
        0..=54 => format!(
            "WITH o AS (INSERT INTO orders VALUES (nextval('order_ids'), {customer}, 0, 'placed', clock_timestamp()) RETURNING id),
                  l AS (INSERT INTO order_lines SELECT id, n, 'sku-' || ({product} + n * 7) % 500 + 1, n FROM o, generate_series(1, 1 + {dice} % 5) n)
             INSERT INTO visits VALUES ({customer}, '/checkout', clock_timestamp());
             UPDATE products SET stock = stock - 1 WHERE sku = 'sku-{product}'"
        ),
        55..=79 => format!("UPDATE orders SET state = 'shipped', total = total + {dice}.25 WHERE id IN (SELECT id FROM orders WHERE state = 'placed' ORDER BY id LIMIT {dice} % 30)"),
        80..=89 => format!("DELETE FROM order_lines WHERE order_id IN (SELECT id FROM orders WHERE state = 'shipped' ORDER BY id LIMIT {dice} % 10)"),
        90..=95 => format!("UPDATE customers SET vip = NOT vip, name = name || '*' WHERE id = {customer}"),
        96 => format!("DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE state = 'shipped' ORDER BY id LIMIT {dice})"),
        97 => format!("UPDATE products SET price = price + 0.10 WHERE sku LIKE 'sku-{}%'", product % 10),
        98 => format!("UPDATE orders SET id = nextval('order_ids') WHERE id = (SELECT max(id) FROM orders WHERE customer = {customer})"),
        _ => "INSERT INTO visits SELECT g, '/mailing', clock_timestamp() FROM generate_series(1, 300) g".to_owned(),
    };
    let transaction = format!("BEGIN; SET LOCAL search_path = {SCHEMA}; {sql}; COMMIT");
    match client.batch_execute(&transaction).await {
        Ok(()) => Ok(true),
        // Two customers wanted the same thing; one of them tries something else.
        Err(error) if error.as_db_error().is_some() => {
            client.batch_execute("ROLLBACK").await.map(|()| false).map_err(lost)
        }
        Err(error) => Err(lost(error)),
    }
}

fn lost(error: tokio_postgres::Error) -> Error {
    Error::transient("the shop lost its database").because(error)
}
