//! The view beside a target: made with it, and changed with it in the same transaction.

use super::client::Client;
use super::options::Options;
use crate::codecs::dialect::{Dialect, Shown, Target, View};
use crate::logic::merge::{Evolved, Shows, shows};
use crate::model::{Error, Result, TableName};

/// What is done to the view before and after the target is altered.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Before.
    pub(super) before: Vec<String>,
    /// After.
    pub(super) after: Vec<String>,
    /// What is noted of it.
    pub(super) note: Vec<String>,
}

/// What has to be done where the target becomes `evolved`; `noted` says whether there are notes of views at all.
pub(super) async fn around<C: Client, D: Dialect>(
    client: &mut C,
    dialect: &D,
    options: &Options,
    target: &Target,
    evolved: &Evolved,
    noted: bool,
) -> Result<Around> {
    let wanted = options.view(&target.table.name, &target.name);
    let made = if noted { made(client, dialect, &options.pipeline, &target.name).await? } else { None };
    let mut around = Around::default();
    let had = made.as_ref().map(|made| &made.name);
    if let Some(had) = had.filter(|had| wanted.as_ref() != Some(had)) {
        around.before.push(dialect.drop_view(had));
        around.note.extend(dialect.view(&options.pipeline, &target.name, None));
    }
    let Some(name) = wanted else { return Ok(around) };
    let stays = had == Some(&name);
    let is_there = !client.query(&dialect.columns(&name)).await?.is_empty();
    if is_there && !stays {
        return Err(Error::blocked(format!(
            "{name}, which is to be a view of {}, exists in the warehouse",
            target.name
        ))
        .remedy("drop or rename it, or give the table another `view`"));
    }
    let shown = made.map(|made| made.columns).unwrap_or_default();
    let Shows { columns, anew } = shows(dialect, &shown, evolved);
    let extends = !anew && dialect.extends_views();
    let view = View { name, columns };
    if is_there && view.columns == shown && (extends || evolved.statements.is_empty()) {
        return Ok(around);
    }
    let mut rights = Vec::new();
    if is_there && !extends {
        if let Some(query) = dialect.rights(&view.name) {
            rights = client.query(&query).await?.into_iter().flatten().flatten().collect();
        }
        around.before.push(dialect.drop_view(&view.name));
    }
    around.after.extend(dialect.show(&view, &target.name));
    around.after.extend(rights);
    around.note.extend(dialect.view(&options.pipeline, &target.name, Some(&view)));
    Ok(around)
}

/// The view that was made beside a target.
async fn made<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    pipeline: &str,
    target: &TableName,
) -> Result<Option<View>> {
    let mut view: Option<View> = None;
    for row in client.query(&dialect.viewed(pipeline, target)).await? {
        let Ok([Some(schema), Some(name), Some(shown), Some(column)]) = <[Option<String>; 4]>::try_from(row) else {
            return Err(Error::blocked("a row of _tailwater.views can't be read")
                .remedy("it was changed by hand: drop the view, and delete its rows there"));
        };
        let view = view.get_or_insert_with(|| View { name: TableName::new(schema, name), columns: Vec::new() });
        view.columns.push(Shown { name: shown, column });
    }
    Ok(view)
}
