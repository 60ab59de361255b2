//! How the rows of a source table stand in the warehouse, and what Tailwater adds to them.

/// What is asked for of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// The rows as they are at the source.
    Mirror,
    /// The same, and the rows that were deleted, marked.
    SoftDelete,
    /// A row for each version of each row.
    History,
    /// A row for each change.
    Append,
}

/// The modes under the names that a configuration has for them.
pub const MODES: [(&str, Mode); 4] =
    [("mirror", Mode::Mirror), ("soft_delete", Mode::SoftDelete), ("history", Mode::History), ("append", Mode::Append)];

/// What a table was made as: a mode, as far as its rows can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Layout {
    /// One row for each key.
    #[default]
    Mirror,
    /// Without a key: one row for each change since the last truncate.
    Log,
    /// Without a key: as many copies of a row as the source has.
    Multiset,
    /// One row for each key that ever was; those that are gone are marked.
    SoftDelete,
    /// One row for each version of each key.
    History,
    /// One row for each change, truncates included.
    Append,
}

/// The layouts under the names that `_tailwater.tables` keeps.
const LAYOUTS: [(&str, Layout); 6] = [
    ("mirror", Layout::Mirror),
    ("log", Layout::Log),
    ("multiset", Layout::Multiset),
    ("soft_delete", Layout::SoftDelete),
    ("history", Layout::History),
    ("append", Layout::Append),
];

/// A type of the columns that Tailwater adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnType {
    /// A 64-bit number.
    Number,
    /// A text.
    Text,
    /// True or false.
    Flag,
    /// A time with time zone.
    Time,
}

/// A column that Tailwater adds to a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub own_type: OwnType,
    /// Whether it may be NULL.
    pub optional: bool,
}

const fn own(name: &'static str, own_type: OwnType) -> OwnColumn {
    OwnColumn { name, own_type, optional: false }
}

const fn optional(name: &'static str, own_type: OwnType) -> OwnColumn {
    OwnColumn { name, own_type, optional: true }
}

const LSN: OwnColumn = own("_tw_lsn", OwnType::Number);
const SEQ: OwnColumn = own("_tw_seq", OwnType::Number);
const OP: OwnColumn = own("_tw_op", OwnType::Text);
const MIRROR: [OwnColumn; 2] = [LSN, SEQ];
const LOG: [OwnColumn; 3] = [LSN, SEQ, OP];
const SOFT_DELETE: [OwnColumn; 4] =
    [LSN, SEQ, own("_tw_deleted", OwnType::Flag), optional("_tw_deleted_at", OwnType::Time)];
const HISTORY: [OwnColumn; 4] =
    [LSN, SEQ, own("_tw_valid_from", OwnType::Time), optional("_tw_valid_to", OwnType::Time)];
const APPEND: [OwnColumn; 6] = [
    LSN,
    SEQ,
    OP,
    own("_tw_committed_at", OwnType::Time),
    optional("_tw_unchanged", OwnType::Text),
    optional("_tw_old", OwnType::Text),
];

/// Text that a staged row has beside what every staged row has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Staged {
    /// When its change committed.
    At,
    /// When the change committed that ended it; NULL while nothing has.
    End,
    /// The names of the columns whose values did not change and are not known, as a JSON array.
    Unchanged,
    /// What told the row apart before the change, as a JSON object.
    Old,
}

impl Staged {
    /// The staging table's column.
    pub fn name(self) -> &'static str {
        match self {
            Staged::At => "_tw_at",
            Staged::End => "_tw_end",
            Staged::Unchanged => "_tw_unchanged",
            Staged::Old => "_tw_old",
        }
    }
}

impl Layout {
    /// The name that `_tailwater.tables` keeps.
    pub fn name(self) -> &'static str {
        LAYOUTS.iter().find(|(_, layout)| *layout == self).map_or("mirror", |(name, _)| name)
    }

    /// The layout of a name.
    pub fn named(name: &str) -> Option<Layout> {
        LAYOUTS.iter().find(|(known, _)| *known == name).map(|(_, layout)| *layout)
    }

    /// The columns that Tailwater adds, behind the table's own.
    pub fn own_columns(self) -> &'static [OwnColumn] {
        match self {
            Layout::Mirror => &MIRROR,
            Layout::Log | Layout::Multiset => &LOG,
            Layout::SoftDelete => &SOFT_DELETE,
            Layout::History => &HISTORY,
            Layout::Append => &APPEND,
        }
    }

    /// The texts that its staged rows have more, in the order of the staging table's columns.
    pub fn staged(self) -> &'static [Staged] {
        match self {
            Layout::Mirror | Layout::Log | Layout::Multiset => &[],
            Layout::SoftDelete => &[Staged::At],
            Layout::History => &[Staged::At, Staged::End],
            Layout::Append => &[Staged::At, Staged::Unchanged, Staged::Old],
        }
    }

    /// Whether a row is found by its key, so that the key's columns hold no NULL.
    pub fn by_key(self) -> bool {
        matches!(self, Layout::Mirror | Layout::SoftDelete | Layout::History)
    }

    /// The condition under which a target's row `alias` is one that the source has; `None` where all are.
    pub fn live(self, alias: &str) -> Option<String> {
        match self {
            Layout::SoftDelete => Some(format!("NOT {alias}._tw_deleted")),
            Layout::History => Some(format!("{alias}._tw_valid_to IS NULL")),
            _ => None,
        }
    }
}
