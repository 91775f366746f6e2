//! The writing side of a log: the only one that changes its files.
//!
//! ```text
//!   full:  .2 ──removed   .1 ──> .2   container.log ──> .1   a new container.log
//! ```
//!
//! A process killed between two renames leaves a gap in the numbers, never a lost or doubled
//! file. A record cut short by a full disk or a killed writer is cut off by the next one, so a
//! file always is a sequence of whole lines to whoever opens it next.

use super::record::Splitter;
use super::{FILE, LogError, MOST_FILES, Stream, file, io};
use crate::types::Moment;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the beginning of a line waits for its end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes looked at for the end of the last whole line.
const BLOCK: u64 = 64 << 10;

/// How much a log may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one file.
    pub size: u64,
    /// Files, the newest among them; at least one.
    pub files: u32,
}

impl Default for Limits {
    /// 100 MB in five files, as docker's own `local` format.
    fn default() -> Self {
        Self {
            size: 20 << 20,
            files: 5,
        }
    }
}

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    limits: Limits,
    file: File,
    /// Bytes of the newest file: whole records.
    size: u64,
    outputs: [Splitter; 2],
    /// When the beginning of a line becomes a record all the same.
    deadline: Option<Instant>,
}

impl Log {
    /// Opens the log of a directory, or starts one.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, LogError> {
        let path = directory.join(FILE);
        let mut newest = open(&path)?;
        let size = whole_lines(&mut newest).map_err(io("look through", &path))?;
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            file: newest,
            size,
            outputs: [Splitter::new(Stream::Stdout), Splitter::new(Stream::Stderr)],
            deadline: None,
        })
    }

    /// Appends what the container has said.
    ///
    /// # Errors
    /// [`LogError::Io`], as on a full disk; what was taken is lost then.
    pub fn take(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), LogError> {
        let mut records = Vec::with_capacity(bytes.len() * 2);
        let [stdout, stderr] = &mut self.outputs;
        let output = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        output.take(bytes, Moment::now(), &mut records);
        let waits = self.outputs.iter().any(Splitter::waits);
        self.deadline = waits.then(|| self.deadline.unwrap_or_else(|| Instant::now() + PATIENCE));
        self.append(&records)
    }

    /// When [`Log::flush`] is to be called, if at all.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Writes the beginnings of lines that wait for their end.
    ///
    /// # Errors
    /// As [`Log::take`].
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.deadline = None;
        let mut records = Vec::new();
        for output in &mut self.outputs {
            output.flush(Moment::now(), &mut records);
        }
        self.append(&records)
    }

    fn append(&mut self, records: &[u8]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + records.len() as u64 > self.limits.size {
            self.rotate()?;
        }
        match self.file.write_all(records) {
            Ok(()) => {
                self.size += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Whole lines only; where even this fails, the next opening does it.
                let _ = self.file.set_len(self.size);
                Err(io("write", &self.directory.join(FILE))(error))
            }
        }
    }

    /// The oldest first, so that no file is renamed over one that is still wanted.
    fn rotate(&mut self) -> Result<(), LogError> {
        let files = self.limits.files.clamp(1, MOST_FILES);
        for number in (0..files).rev() {
            let from = file(&self.directory, number);
            let done = if number + 1 == files {
                fs::remove_file(&from)
            } else {
                fs::rename(&from, file(&self.directory, number + 1))
            };
            match done {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("rotate", &from)(error));
                }
                _ => {}
            }
        }
        self.file = open(&self.directory.join(FILE))?;
        self.size = 0;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(io("open", path))
}

/// Cuts off what follows the last line's end; gives the size that is left.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let size = file.metadata()?.len();
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(at) = block.iter().rposition(|&b| b == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < size {
        file.set_len(end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cut_short_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut log = Log::open(directory.path(), Limits::default()).unwrap();
        log.take(Stream::Stdout, b"whole\n").unwrap();
        let whole = fs::read(&path).unwrap();
        drop(log);
        fs::write(&path, [whole.as_slice(), b"{\"log\":\"ha"].concat()).unwrap();
        let mut log = Log::open(directory.path(), Limits::default()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        log.take(Stream::Stdout, b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        fs::write(&path, "no line at all").unwrap();
        Log::open(directory.path(), Limits::default()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn files_stay_within_their_limits() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits {
            size: 1000,
            files: 3,
        };
        let mut log = Log::open(directory.path(), limits).unwrap();
        for number in 0..200 {
            log.take(Stream::Stderr, format!("line {number}\n").as_bytes())
                .unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|e| e.metadata().unwrap().len() <= 1000));
        let newest = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(newest.lines().last().unwrap().contains("line 199"));
    }
}
