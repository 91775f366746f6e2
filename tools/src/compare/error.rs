//! What goes wrong, in one line each.

use std::fmt::Display;
use std::io;
use std::process::ExitStatus;

/// A failure of the comparison, or of one contender in one work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("`{command}` ended with {status}: {said}")]
    Program {
        command: String,
        status: ExitStatus,
        said: String,
    },
    /// A work came to another result than it must.
    #[error("{0}")]
    Wrong(String),
    #[error("not done after {0} s, given up")]
    TooLong(u64),
    #[error(
        "{0} is not installed: run with --install, or without what needs it (--contenders, --only)"
    )]
    Missing(String),
    #[error("interrupted")]
    Interrupted,
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Says on what an operation failed.
pub(super) trait Context<T> {
    /// Adds `what` to the error.
    fn on(self, what: impl Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn on(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Error::Io {
            what: what.to_string(),
            source: error.into(),
        })
    }
}
