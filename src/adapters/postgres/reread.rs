//! Rows of one table by their keys, as they are at one point of the log: for a warehouse that lacks them.
//!
//! The point and the rows are those of a temporary slot's exported snapshot, so that it is known of each change whether
//! the rows show it: exactly those that commit before the point. A position read beside a query does not say that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::catalog::{self, literal, quoted};
use super::options::Options;
use super::snapshot::{Snapshot, Wanted};
use super::wire::Wire;
use super::{slot, sql};
use crate::model::{Change, Error, Lsn, Meters, Result, TableName};

/// How long the temporary slot may wait for transactions that are open, and a reader for a table that is being altered.
const PATIENCE: Duration = Duration::from_secs(5);

/// The rows of `table` whose `columns` hold one of `keys`, and the point that they are of. Rows that the publication's
/// filter leaves out are not among them.
pub async fn reread(
    options: &Options,
    table: &TableName,
    columns: &[String],
    keys: &[Vec<String>],
    meters: Arc<Meters>,
) -> Result<(Lsn, Vec<Change>)> {
    let mut tag = format!("{} reread", slot::tag(options));
    tag.truncate(63);
    let reader = sql::connect(&options.endpoint, &tag).await?;
    let facts = catalog::facts(&reader).await?;
    let tables = catalog::matching(&reader, options).await?;
    let found = tables.into_iter().find(|found| found.name == *table).ok_or_else(|| {
        Error::blocked(format!("rows of {table} are to be read again, and the source has no such table any more"))
            .remedy("run once with --resnapshot, or exclude the table")
    })?;
    let encoding = if facts.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
    let mut wire = Wire::connect(&options.endpoint, &tag, encoding, options.connect_timeout).await?;
    let exported = timeout(PATIENCE, slot::snapshot(&mut wire))
        .await
        .map_err(|_| Error::transient("reading rows again waits for transactions that are open on the server"))??;
    let names: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let row = |key: &Vec<String>| format!("({})", key.iter().map(|text| literal(text)).collect::<Vec<_>>().join(", "));
    let condition = format!("({}) IN ({})", names.join(", "), keys.iter().map(row).collect::<Vec<_>>().join(", "));
    let wanted = Wanted {
        exported: &exported,
        tables: &[found],
        version: facts.version,
        publication: &options.publication,
        clear: &|_| false,
        only: Some(&condition),
        lock_timeout: PATIENCE,
    };
    let mut snapshot = Snapshot::begin(reader, wanted, meters).await?;
    let mut rows = Vec::new();
    while !snapshot.read(&mut rows, &mut 0).await? {}
    Ok((exported.point, rows))
}
