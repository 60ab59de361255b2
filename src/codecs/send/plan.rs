//! A table's rows.

use super::{Form, Forms, Kind, SendError};
use crate::model::{Cell, Row, RowWriter};

/// More than this is not kept for the next value.
const SCRATCH: usize = 1 << 20;

/// How the rows of one version of a table are printed.
#[derive(Clone, Debug)]
pub struct Plan {
    columns: Vec<Form>,
    known: Forms,
}

impl Plan {
    /// For columns of these forms, which hold values of the `known` types.
    pub fn new(columns: Vec<Form>, known: Forms) -> Plan {
        Plan { columns, known }
    }

    /// The row in text form; cells that are not binary stay what they are. `scratch` is reused between calls.
    ///
    /// # Errors
    ///
    /// The column's number and what is wrong with its value.
    pub fn row(&self, row: &Row, scratch: &mut Vec<u8>, out: &mut RowWriter) -> Result<Row, (usize, SendError)> {
        let mut forms = self.columns.iter();
        for (at, cell) in row.cells().enumerate() {
            let form = forms.next();
            let Cell::Binary(value) = cell else {
                out.push(cell);
                continue;
            };
            let printed = match form {
                Some(Form(Kind::Text)) => {
                    out.push(Cell::Text(value));
                    continue;
                }
                Some(form) => {
                    scratch.clear();
                    form.print(value, &self.known, scratch)
                }
                None => Err(SendError::Broken),
            };
            if let Err(error) = printed {
                // What is written of the row goes.
                out.finish();
                return Err((at, error));
            }
            out.push(Cell::Text(scratch));
        }
        if scratch.capacity() > SCRATCH {
            *scratch = Vec::new();
        }
        Ok(out.finish())
    }
}
