//! Text columns that become wider when a longer value comes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Client, RedshiftClient, failure};
use crate::codecs::dialect::{Dialect, LONGEST_TEXT, Staging, Target, width};
use crate::model::{Error, Result, Table, TableName};

/// How many bytes the text columns of targets take, as far as they were looked at.
#[derive(Default)]
pub(super) struct Widths {
    known: HashMap<TableName, (Arc<Table>, Vec<Option<usize>>)>,
}

impl RedshiftClient {
    /// Widens the columns that are too narrow for the longest of their values.
    ///
    /// Never inside a transaction: one that is open, of a source transaction too large for one flush, is rolled back
    /// and comes again from its beginning, once.
    pub(super) async fn make_room(&mut self, target: &Target, longest: &[usize], open: bool) -> Result<()> {
        let narrow = self.narrow(target, longest).await?;
        if narrow.is_empty() {
            return Ok(());
        }
        if open {
            self.execute("ROLLBACK").await?;
            // What was made in the transaction has all the room there is.
        }
        for (column, bytes) in narrow {
            let sql = self.dialect.widen(&target.name, &column, bytes);
            tracing::info!(table = %target.name, "{sql}");
            match self.connection.simple_query(&sql).await {
                Err(error) if !failure::same_size(&error) => return Err(failure::sql(error)),
                _ => {}
            }
        }
        self.widths.known.remove(&target.name);
        if open {
            return Err(Error::transient(format!(
                "text columns of {} were widened, which no open transaction allows: it begins again",
                target.name
            )));
        }
        Ok(())
    }

    /// The columns that are too narrow, with the bytes they need.
    async fn narrow(&mut self, target: &Target, longest: &[usize]) -> Result<Vec<(String, usize)>> {
        let known = self.widths.known.get(&target.name).is_some_and(|(table, _)| table.same_shape(&target.table));
        if !known {
            let widths = self.widths_of(target).await?;
            self.widths.known.insert(target.name.clone(), (Arc::clone(&target.table), widths));
        }
        let Some((_, widths)) = self.widths.known.get(&target.name) else { return Ok(Vec::new()) };
        let columns = target.table.columns.iter().zip(longest).zip(widths);
        let narrow = columns.filter_map(|((column, longest), width)| {
            let bytes = longest.next_power_of_two().min(LONGEST_TEXT);
            ((*width)? < *longest).then(|| (column.name.clone(), bytes))
        });
        Ok(narrow.collect())
    }

    async fn widths_of(&mut self, target: &Target) -> Result<Vec<Option<usize>>> {
        let present = self.query(&self.dialect.columns(&target.name)).await?;
        let of = |name: &str| {
            let name = self.dialect.fold_name(name);
            let column = present.iter().find(|row| row.first().and_then(Option::as_deref) == Some(name.as_str()))?;
            width(column.get(1)?.as_deref()?)
        };
        let columns = target.table.columns.iter();
        let text = |column| self.dialect.types.staging(column) == Staging::Text;
        Ok(columns.map(|column| of(&column.name).filter(|_| text(column))).collect())
    }
}
