//! One change on its way into records.

use std::ops::Range;

use super::encode::{Encoder, Orders};
use super::flat::Deletes;
use super::form::{Event, Form, Misfit, Out, Place, Written, known};
use super::records::Records;
use super::stamp::Part;
use super::{header, json};
use crate::model::{Cell, Change, Emitted, OldRow, Op, PgTimestamp, Row};

/// The change, the plan and what is written to.
pub(super) struct Draft<'a> {
    pub(super) plan: &'a Encoder,
    pub(super) change: &'a Change,
    pub(super) now: PgTimestamp,
    /// The transaction's id and how many events have been told of it, where that is told.
    pub(super) place: Option<(&'a str, &'a mut Orders)>,
    pub(super) out: &'a mut Records,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) misfits: &'a mut Vec<Misfit>,
}

impl<'a> Draft<'a> {
    pub(super) fn write(&mut self) -> Written {
        match &self.change.op {
            Op::Read { new } => self.plain("r", None, new),
            Op::Insert { new } => self.plain("c", None, new),
            Op::Update { old: Some(old), new } if self.key_changes(old.row(), new) => self.key_change(old, new),
            Op::Update { old, new } => self.plain("u", old.as_ref(), new),
            Op::Delete { old } => self.delete(old),
            Op::Truncate if self.plan.truncates => self.truncate(),
            Op::Truncate => Ok(()),
            Op::Message(emitted) => self.message(emitted),
            // Told in a topic of its own.
            Op::Commit { .. } => Ok(()),
        }
    }

    fn event(&self, op: &'static str) -> Event<'a> {
        let (before, after, known, half, place) = (None, None, None, None, None);
        Event { op, before, after, known, half, change: self.change, now: self.now, place }
    }

    fn plain(&mut self, op: &'static str, old: Option<&'a OldRow>, new: &'a Row) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        self.unchanged_header(old, new);
        let key = self.key(new)?;
        let before = old.filter(|old| matches!(old, OldRow::Full(_)));
        let value = self.value(&Event { before, after: Some(new), known: old, ..self.event(op) })?;
        self.out.push(key, Some(value), headers);
        Ok(())
    }

    fn delete(&mut self, old: &'a OldRow) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        self.end(old, None, headers)
    }

    /// The event of a row's end and its tombstone; of a changed key, with the row that has the new one.
    fn end(&mut self, old: &'a OldRow, next: Option<&'a Row>, headers: usize) -> Written {
        let key = self.key(old.row())?;
        let (event, tombstone) = match self.plan.deletes {
            None => (true, self.plan.tombstones),
            Some(deletes) => {
                (deletes.rewrites(), matches!(deletes, Deletes::Tombstone | Deletes::RewriteWithTombstone))
            }
        };
        if event {
            let half = next.map(|next| (Part::Delete, next));
            let value = self.value(&Event { before: Some(old), half, ..self.event("d") })?;
            self.out.push(key.clone(), Some(value), headers);
        }
        if tombstone {
            self.out.push(key, None, headers);
        }
        Ok(())
    }

    fn key_change(&mut self, old: &'a OldRow, new: &'a Row) -> Written {
        let headers = self.out.headers.len();
        self.key_header(header::NEW_KEY, new)?;
        self.common_headers();
        self.text_header(header::PART, b"delete");
        self.end(old, Some(new), headers)?;

        let headers = self.out.headers.len();
        self.key_header(header::OLD_KEY, old.row())?;
        self.common_headers();
        self.text_header(header::PART, b"create");
        self.unchanged_header(Some(old), new);
        let key = self.key(new)?;
        let half = Some((Part::Create, old.row()));
        let value = self.value(&Event { after: Some(new), known: Some(old), half, ..self.event("c") })?;
        self.out.push(key, Some(value), headers);
        Ok(())
    }

    fn truncate(&mut self) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        let value = self.value(&self.event("t"))?;
        self.out.push(None, Some(value), headers);
        Ok(())
    }

    /// It is of no table and of no row.
    fn message(&mut self, emitted: &'a Emitted) -> Written {
        let headers = self.out.headers.len();
        self.id_headers();
        let (plan, start) = (self.plan, self.out.bytes.len());
        match &plan.form {
            Form::Json => plan.json.message_key(emitted, &mut self.room()),
            Form::Avro(form) => form.message_key(emitted, &mut self.room()),
            Form::Protobuf(form) => form.message_key(emitted, &mut self.room()),
        }
        let key = start..self.out.bytes.len();
        let value = self.value(&self.event("m"))?;
        self.out.push(Some(key), Some(value), headers);
        Ok(())
    }

    /// Whether the key is another. A NULL where none is allowed means that the identity does not cover the column.
    fn key_changes(&self, old: &Row, new: &Row) -> bool {
        let table = &self.plan.table;
        table.key.iter().any(|&i| match (old.cell(i), new.cell(i)) {
            (_, Cell::Unchanged) => false,
            (Cell::Null, _) if table.columns.get(i).is_some_and(|column| !column.optional) => false,
            (old, new) => old != new,
        })
    }

    fn common_headers(&mut self) {
        let plan = self.plan;
        for (name, value) in plan.context.iter().flat_map(|context| header::CONTEXT.iter().zip(context)) {
            self.text_header(name, value.as_bytes());
        }
        self.id_headers();
        self.text_header(header::TABLE, self.plan.version.as_bytes());
    }

    fn id_headers(&mut self) {
        let id = self.change.id;
        for (name, number) in [(header::COMMIT_LSN, id.commit.get()), (header::SEQ, id.seq)] {
            self.text_header(name, itoa::Buffer::new().format(number).as_bytes());
        }
    }

    fn text_header(&mut self, name: &'static str, value: &[u8]) {
        let start = self.out.bytes.len();
        self.out.bytes.extend_from_slice(value);
        self.out.header(name, start);
    }

    fn unchanged_header(&mut self, old: Option<&OldRow>, new: &Row) {
        if !new.has_unchanged() {
            return;
        }
        let start = self.out.bytes.len();
        for (at, cell) in new.cells().enumerate() {
            let Some(name) = self.plan.json.name(at) else { continue };
            if cell != Cell::Unchanged || known(old, at).is_some() {
                continue;
            }
            self.out.bytes.push(if self.out.bytes.len() == start { b'[' } else { b',' });
            self.out.bytes.extend_from_slice(name);
        }
        if self.out.bytes.len() > start {
            self.out.bytes.push(b']');
            self.out.header(header::UNCHANGED, start);
        }
    }

    /// Tells what the form of the event could not say.
    fn misfit_headers(&mut self, event: &Event<'a>) -> Written {
        for (before, name) in [(false, header::VALUES), (true, header::OLD_VALUES)] {
            let row = if before { event.before.map(OldRow::row) } else { event.after };
            let (Some(row), start) = (row, self.out.bytes.len()) else { continue };
            for &Misfit { column, .. } in self.misfits.iter().filter(|misfit| misfit.before == before) {
                let Some(name) = self.plan.json.name(column) else { continue };
                let bytes = &mut self.out.bytes;
                bytes.push(if bytes.len() == start { b'{' } else { b',' });
                bytes.extend_from_slice(name);
                bytes.push(b':');
                let cell = if before { row.cell(column) } else { event.cell(column, row.cell(column)) };
                match cell {
                    Cell::Text(text) => json::string(text, bytes).map_err(|error| self.plan.error(column, error))?,
                    _ => bytes.extend_from_slice(b"null"),
                }
            }
            if self.out.bytes.len() > start {
                self.out.bytes.push(b'}');
                self.out.header(name, start);
            }
        }
        self.misfits.clear();
        Ok(())
    }

    fn room(&mut self) -> Out<'_> {
        Out { bytes: &mut self.out.bytes, scratch: self.scratch, misfits: self.misfits }
    }

    /// The record's key, where the table has one.
    fn key(&mut self, row: &Row) -> Written<Option<Range<usize>>> {
        let plan = self.plan;
        if !plan.table.has_key() {
            return Ok(None);
        }
        let start = self.out.bytes.len();
        match &plan.form {
            Form::Json => plan.json.key(row, &mut self.room())?,
            Form::Avro(form) => form.key(row, &mut self.room())?,
            Form::Protobuf(form) => form.key(row, &mut self.room())?,
        }
        Ok(Some(start..self.out.bytes.len()))
    }

    /// The other half's key. Protobuf's events hold it themselves, as exactly as all else.
    fn key_header(&mut self, name: &'static str, row: &Row) -> Written {
        if matches!(self.plan.form, Form::Protobuf(_)) {
            return Ok(());
        }
        let (plan, start) = (self.plan, self.out.bytes.len());
        plan.json.bare_key(row, &mut self.room())?;
        self.out.header(name, start);
        Ok(())
    }

    fn value(&mut self, event: &Event<'a>) -> Written<Range<usize>> {
        let place = self.place.as_mut().map(|(id, orders)| {
            orders.total += 1;
            orders.table += 1;
            Place { id, total: orders.total, table: orders.table }
        });
        let event = &Event { place, ..*event };
        let (plan, start) = (self.plan, self.out.bytes.len());
        match &plan.form {
            Form::Json => plan.json.value(event, &mut self.room())?,
            Form::Avro(form) => form.value(event, &mut self.room())?,
            Form::Protobuf(form) => form.value(event, &mut self.room())?,
        }
        let value = start..self.out.bytes.len();
        self.misfit_headers(event)?;
        Ok(value)
    }
}
