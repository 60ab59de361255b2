//! What stands in the way of another key.

use super::{Layout, Target, list, quote, table};

/// Takes away rows that are marked as deleted and have the key of others: under the key that was, they were other rows.
/// Under the one of now they are what those were before.
pub(super) fn superseded(target: &Target, key: &[String]) -> Option<String> {
    let (name, equal) = (table(&target.name), |column: &String| format!("b.{0} = a.{0} AND ", quote(column)));
    let same = key.iter().map(equal).collect::<String>();
    let versions = ["a", "b"].map(|row| list(["_tw_lsn", "_tw_seq"].map(|own| format!("{row}.{own}"))));
    let [before, after] = versions;
    (target.layout == Layout::SoftDelete).then(|| {
        format!(
            "DELETE FROM {name} AS a WHERE a._tw_deleted AND EXISTS (SELECT 1 FROM {name} AS b WHERE {same}\
             (NOT b._tw_deleted OR ({after}) > ({before})))"
        )
    })
}
