//! What a container says, kept on disk: docker's `json-file` format, rotated by size.
//!
//! ```text
//!   stdout ─┐                     {"log":"...\n","stream":"stdout","time":"..."}
//!   stderr ─┴─> Log (writer) ──>  container.log   (newest; appended to only)
//!                                 container.log.1 ...           ──> Reader
//! ```
//!
//! One record is one line of the file and at most one line of the stream; it is written by one
//! `write` and never changed. There is one writer (the monitor) and any number of readers, which
//! need no lock: a file's name changes, its bytes do not.

mod reader;
mod record;
mod writer;

pub use reader::{Query, Reader};
pub use record::{Record, Stream};
pub use writer::{Limits, Log};

use std::path::{Path, PathBuf};

/// The newest file; older ones have `.1`, `.2`, ... behind.
pub const FILE: &str = "container.log";

/// Most files of one log, however many are asked for.
const MOST_FILES: u32 = 1000;

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be read or written.
    #[error("log: cannot {what} {}: {source}", path.display())]
    Io {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no record; the ones after it can still be read.
    #[error("log: {}: a line is damaged and left out: {why}", path.display())]
    Record {
        /// The directory of the log.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    move |source| LogError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The file of a number; 0 is the newest.
fn file(directory: &Path, number: u32) -> PathBuf {
    match number {
        0 => directory.join(FILE),
        number => directory.join(format!("{FILE}.{number}")),
    }
}
