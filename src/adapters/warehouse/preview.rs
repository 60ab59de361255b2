//! What would be executed for tables as they are now, without executing it.

use std::sync::Arc;

use super::client::Client;
use super::fit::{held, present};
use super::layouts::Layouts;
use super::options::Options;
use super::views::around;
use crate::codecs::dialect::{Dialect, Target};
use crate::logic::merge::{Evolved, evolve, layout};
use crate::model::{Result, Table, TableName};

/// What would be executed for a table.
#[derive(Debug)]
pub struct Preview {
    /// The target.
    pub target: TableName,
    /// Statements and what a person should know; or why it would stop.
    pub outcome: Result<(Vec<String>, Vec<String>)>,
}

/// The statements that the targets of tables would be made or altered by, were their rows to come now.
pub async fn preview<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    options: &Options,
    tables: &[Arc<Table>],
) -> Result<Vec<Preview>> {
    let mut is_there = [false; 3];
    for (there, name) in is_there.iter_mut().zip(["tables", "columns", "views"]) {
        *there = !client.query(&dialect.columns(&dialect.control_table(name))).await?.is_empty();
    }
    let [owned, noted, viewed] = is_there;
    let mut layouts = Layouts::default();
    let mut all = Vec::new();
    for table in tables {
        let target = options.target_name(&table.name);
        let mode = options.mode(&table.name);
        let layout = match owned {
            true => layouts.of(client, dialect, &target, table, mode).await,
            false => layout(table, mode, None),
        };
        let outcome = match layout {
            Err(error) => Err(error),
            Ok(layout) => {
                let to = Target { layout, ..Target::new(target.clone(), Arc::clone(table)) };
                let columns = present(client, dialect, &target).await?;
                let held = if noted { held(client, dialect, &options.pipeline, &target).await? } else { Vec::new() };
                let policy = options.policies.of(&options.origins.of(&table.name));
                match evolve(dialect, &to, columns.as_deref(), &held, policy) {
                    Err(error) => Err(error),
                    Ok(evolved) => around(client, dialect, options, &to, &evolved, viewed).await.map(|around| {
                        let Evolved { statements, notes, .. } = evolved;
                        (around.before.into_iter().chain(statements).chain(around.after).collect(), notes)
                    }),
                }
            }
        };
        all.push(Preview { target, outcome });
    }
    Ok(all)
}
