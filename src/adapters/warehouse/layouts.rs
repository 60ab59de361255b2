//! How each table is kept: decided when its first change comes, remembered beside it.

use std::collections::HashMap;

use super::client::Client;
use crate::codecs::dialect::{Dialect, Layout, Mode};
use crate::logic::merge::layout;
use crate::model::{Error, Result, Table, TableName};

/// What the targets were made as, as far as this process has looked.
#[derive(Debug, Default)]
pub(super) struct Layouts(HashMap<TableName, Option<Layout>>);

impl Layouts {
    /// How a table is kept; refuses what its target was not made as.
    pub(super) async fn of<C: Client>(
        &mut self,
        client: &mut C,
        dialect: &impl Dialect,
        target: &TableName,
        table: &Table,
        mode: Option<Mode>,
    ) -> Result<Layout> {
        let made = match self.0.get(target) {
            Some(made) => *made,
            None => made(client, dialect, target, table).await?,
        };
        let layout = layout(table, mode, made)?;
        // From now on it is made so.
        self.0.insert(target.clone(), Some(layout));
        Ok(layout)
    }
}

/// What a target was made as; one of an earlier version, which had no modes, mirrors its table.
async fn made<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    target: &TableName,
    table: &Table,
) -> Result<Option<Layout>> {
    let owner = client.query(&dialect.owner(target)).await?;
    let Some(row) = owner.into_iter().next() else { return Ok(None) };
    match row.into_iter().nth(3).flatten() {
        None if table.has_key() => Ok(Some(Layout::Mirror)),
        None => Ok(Some(Layout::Log)),
        Some(name) => Layout::named(&name).map(Some).ok_or_else(|| {
            Error::blocked(format!(
                "_tailwater.tables says that {target} is kept as {name:?}, which is nothing that this version knows"
            ))
            .remedy("use the version that made it, or drop the table and its row there")
        }),
    }
}
