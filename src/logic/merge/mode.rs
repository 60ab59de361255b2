//! How a table is to stand in the warehouse: what is asked for, what its rows allow, and what it was made as.

use crate::codecs::dialect::{Layout, Mode};
use crate::model::{Error, ReplicaIdentity, Result, Table};

/// The layout of a table, given the mode that is asked for and the layout that its target was made with.
///
/// A table that nothing is asked for goes on as what it was made as: that its replica identity is FULL from now on does
/// not make copies out of a log.
pub fn layout(table: &Table, mode: Option<Mode>, made: Option<Layout>) -> Result<Layout> {
    let wanted = wanted(table, mode)?;
    let plain = |layout| matches!(layout, Layout::Log | Layout::Multiset);
    let mirrors = |layout| plain(layout) || layout == Layout::Mirror;
    match made {
        None => Ok(wanted),
        Some(made) if made == wanted => Ok(made),
        // Whoever asks for a mirror is told when that is not what the table is.
        Some(Layout::Log) if wanted == Layout::Multiset && mode.is_none() => Ok(Layout::Log),
        Some(Layout::Multiset) if wanted == Layout::Log => Ok(Layout::Multiset),
        // That the key has come or gone is told as such.
        Some(made) if mirrors(made) && mirrors(wanted) && !(plain(made) && plain(wanted)) => Ok(wanted),
        Some(made) => Err(switched(table, wanted, made)),
    }
}

fn wanted(table: &Table, mode: Option<Mode>) -> Result<Layout> {
    let name = match (mode, table.has_key()) {
        (Some(Mode::Append), _) => return Ok(Layout::Append),
        (Some(Mode::SoftDelete), true) => return Ok(Layout::SoftDelete),
        (Some(Mode::History), true) => return Ok(Layout::History),
        (None | Some(Mode::Mirror), true) => return Ok(Layout::Mirror),
        (None | Some(Mode::Mirror), false) if table.identity == ReplicaIdentity::Full => return Ok(Layout::Multiset),
        (None | Some(Mode::Mirror), false) => return Ok(Layout::Log),
        (Some(Mode::SoftDelete), false) => "soft_delete",
        (Some(Mode::History), false) => "history",
    };
    Err(Error::blocked(format!("mode {name:?} of {} needs a key, and the table has none", table.name))
        .remedy("give it a primary key, name columns in `key` of its [[table]], or use mode = \"append\""))
}

fn switched(table: &Table, wanted: Layout, made: Layout) -> Error {
    let (name, wanted, made) = (&table.name, wanted.name(), made.name());
    Error::blocked(format!("{name} would be kept as {wanted}, and its table in the warehouse was made as {made}"))
        .remedy(format!(
            "set its mode back; or drop the table in the warehouse, delete its row from _tailwater.tables, and run once with --resnapshot, which makes it anew as {wanted}"
        ))
}
