//! What the target needs before rows of a table's present shape can go into it.

use crate::codecs::dialect::{Dialect, Target};
use crate::model::{Error, Result};

/// The statements that make the target fit, given its columns as (name, type); `None` when there is no such table.
///
/// Columns that the source has no more stay and are written no more. A column whose type changed is refused.
pub fn evolve(dialect: &impl Dialect, target: &Target, present: Option<&[(String, String)]>) -> Result<Vec<String>> {
    let Some(present) = present else { return Ok(dialect.create(target)) };
    let mut steps = Vec::new();
    for own in ["_tw_lsn", "_tw_seq"] {
        if !present.iter().any(|(name, _)| name == own) {
            return Err(Error::blocked(format!(
                "table {} exists in the warehouse and is not Tailwater's: it has no column {own}",
                target.name
            ))
            .remedy("drop or rename it, or send this pipeline's tables to another schema"));
        }
    }
    if target.table.has_key() == present.iter().any(|(name, _)| name == "_tw_op") {
        return Err(Error::blocked(format!(
            "table {} has gained or lost its key since the warehouse's table was made",
            target.name
        ))
        .remedy("drop the warehouse's table and clear its progress so that it is read again"));
    }
    for column in &target.table.columns {
        let wanted = dialect.target_type(column);
        match present.iter().find(|(name, _)| *name == column.name) {
            None => steps.push(dialect.add_column(target, column)),
            Some((_, found)) if found.eq_ignore_ascii_case(&wanted) => {}
            Some((_, found)) => {
                return Err(Error::blocked(format!(
                    "column {} of {} is {} at the source, which needs {wanted} in the warehouse; it is {found} there",
                    column.name,
                    target.name,
                    column.pg_type.name()
                ))
                .remedy("change the column's type in the warehouse, or rename the old column there so that a new one is added"));
            }
        }
    }
    Ok(steps)
}
