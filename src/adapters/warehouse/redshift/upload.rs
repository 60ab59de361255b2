//! Rows on their way to S3: objects, then a manifest of them, while other tables' are on theirs.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinSet, block_in_place};
use tokio_util::task::AbortOnDropHandle;

use super::RedshiftClient;
use super::rows::Plan;
use crate::adapters::warehouse::ObjectFormat;
use crate::codecs::dialect::Target;
use crate::logic::merge::NetRow;
use crate::model::{ChangeId, Error, Result};

/// Objects that wait for their COPY.
pub(super) struct Upload {
    pub(super) manifest: String,
    pub(super) folder: String,
    /// Rows that are in none of them, since they come to nothing.
    pub(super) needless: u64,
    of: Span,
    /// Until the manifest is there.
    task: Option<AbortOnDropHandle<Result<()>>>,
}

/// Which rows: the first and the last change, and how many.
pub(super) type Span = Option<(ChangeId, ChangeId, usize)>;

pub(super) fn span(rows: &[NetRow]) -> Span {
    Some((rows.first()?.id, rows.last()?.id, rows.len()))
}

/// Takes the newest upload of these rows; an older one has values that did not fit. Those of the same table's other
/// shapes stay, whatever their order: rows that were mended are uploaded again, behind them.
pub(super) fn take(waiting: &mut Vec<Upload>, of: Span) -> Option<Upload> {
    let place = waiting.iter().rposition(|upload| upload.of == of)?;
    Some(waiting.remove(place))
}

impl Upload {
    /// Waits until all of it is there.
    pub(super) async fn done(&mut self) -> Result<()> {
        match &mut self.task {
            None => Ok(()),
            Some(task) => {
                let done = task.await.map_err(|error| Error::bug("an upload ended").because(error));
                self.task = None;
                done?
            }
        }
    }
}

impl RedshiftClient {
    /// Writes rows as objects with a manifest, beside what comes next; nothing is locked meanwhile. Says how long the
    /// longest text of each column is.
    pub(super) async fn upload(&mut self, target: &Target, rows: &[NetRow]) -> Result<(Upload, Vec<usize>)> {
        let folder = self.folder(target, rows);
        let mut plan = Plan::of(&self.dialect.types, target, self.options.format);
        let parts = Plan::parts(rows, self.options.files);
        let extension = match self.options.format {
            ObjectFormat::Parquet => "parquet",
            ObjectFormat::Csv => "csv",
        };
        let mut puts = JoinSet::new();
        let mut entries = Vec::new();
        for (number, rows) in rows.chunks(rows.len().div_ceil(parts).max(1)).enumerate() {
            let line = Arc::clone(&self.lines).acquire_owned().await;
            let line = line.map_err(|error| Error::bug("nothing is uploaded any more").because(error))?;
            let object = block_in_place(|| plan.object(target, rows))?;
            let path = self.store.path(&format!("{folder}/{number:04}.{extension}"));
            entries.push((path.clone(), object.len()));
            self.objects.push(path.clone());
            let store = self.store.clone();
            puts.spawn(async move {
                let put = store.put(&path, Bytes::from(object)).await;
                drop(line);
                put
            });
        }
        let list = self.store.path(&format!("{folder}/manifest.json"));
        self.objects.push(list.clone());
        let (manifest, store, lines) = (self.store.url(&list), self.store.clone(), Arc::clone(&self.lines));
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(put) = puts.join_next().await {
                put.map_err(|error| Error::bug("an upload ended").because(error))??;
            }
            let _line = lines.acquire().await;
            store.put(&list, store.manifest(&entries)).await
        }));
        Ok((Upload { manifest, folder, needless: plan.needless, of: span(rows), task: Some(task) }, plan.longest))
    }

    /// Pipeline, table and range of positions: what a lifecycle rule or a person can tell objects by.
    fn folder(&mut self, target: &Target, rows: &[NetRow]) -> String {
        self.number += 1;
        let positions = || rows.iter().map(|row| row.id.commit.get());
        format!(
            "{}/{}.{}/{:016X}-{:016X}-{:08x}-{}",
            plain(&self.dialect.pipeline),
            plain(&target.name.schema),
            plain(&target.name.name),
            positions().min().unwrap_or(0),
            positions().max().unwrap_or(0),
            self.life,
            self.number
        )
    }
}

/// A name as part of an object's: what S3 or COPY might read otherwise becomes `!` and its number.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            other => out.push_str(&format!("!{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;

    #[test]
    fn rows_that_are_uploaded_again_do_not_cost_the_next_shape_its_upload() {
        let of = |commit: u64| {
            let id = ChangeId { commit: Lsn::new(commit), seq: 0 };
            Some((id, id, 1))
        };
        let upload = |manifest: &str, of: Span| {
            let (manifest, folder) = (manifest.to_owned(), String::new());
            Upload { manifest, folder, needless: 0, of, task: None }
        };
        let mut waiting = vec![upload("did not fit", of(1)), upload("first", of(1)), upload("second", of(2))];
        let taken = |waiting: &mut Vec<Upload>, commit| take(waiting, of(commit)).map(|upload| upload.manifest);
        assert_eq!(taken(&mut waiting, 1).as_deref(), Some("first"));
        waiting.push(upload("mended", of(1)));
        assert_eq!(taken(&mut waiting, 1).as_deref(), Some("mended"));
        assert_eq!(taken(&mut waiting, 2).as_deref(), Some("second"));
        assert_eq!(taken(&mut waiting, 3), None);
    }
}
