//! Errors answer two questions: does trying again help, and who has to act?

use std::fmt;

/// What the one reading an error may do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// May heal by itself: back off and go on from the last acknowledgement.
    Transient,
    /// A person must act; slot and data are kept.
    Blocked,
    /// Bytes or their order break a protocol: stop at once, never skip.
    Corrupt,
    /// An invariant of ours does not hold.
    Bug,
}

/// A failure: its class, what is wrong and where, and what to do.
///
/// The text never holds row values or secrets.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    class: Class,
    what: String,
    remedy: Option<String>,
    /// Whether it is of no single table.
    systemic: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything above the codecs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `class` that says `what` is wrong and where.
    pub fn new(class: Class, what: impl Into<String>) -> Error {
        Error(Box::new(Inner { class, what: what.into(), remedy: None, systemic: false, source: None }))
    }

    /// One that may heal by itself.
    pub fn transient(what: impl Into<String>) -> Error {
        Error::new(Class::Transient, what)
    }

    /// One that waits for a person; say what to do with [`Error::remedy`].
    pub fn blocked(what: impl Into<String>) -> Error {
        Error::new(Class::Blocked, what)
    }

    /// Bytes or order that break a protocol.
    pub fn corrupt(what: impl Into<String>) -> Error {
        Error::new(Class::Corrupt, what)
    }

    /// A broken invariant.
    pub fn bug(what: impl Into<String>) -> Error {
        Error::new(Class::Bug, what)
    }

    /// Adds what the reader should do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Error {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds the error this one comes from; its text is printed after ours.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Puts the place in front: `reading topic x: ...`.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Error {
        self.0.what = format!("{place}: {}", self.0.what);
        self
    }

    /// Marks it as of no single table, whatever was being done: a disk, a right to the whole database.
    #[must_use]
    pub fn systemic(mut self) -> Error {
        self.0.systemic = true;
        self
    }

    /// Whether it is of no single table.
    pub fn is_systemic(&self) -> bool {
        self.0.systemic
    }

    /// Whether trying again helps, and who has to act.
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// What to do, where there is something to do.
    pub fn advice(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// The text without the remedy.
    pub fn what(&self) -> String {
        let mut text = self.0.what.clone();
        let mut source = self.0.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = source {
            let next = error.to_string();
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            source = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        match &self.0.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
