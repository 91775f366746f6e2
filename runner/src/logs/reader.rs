//! The reading side of a log: from a point in time or from the end, and on as it grows.
//!
//! ```text
//!   opened:    container.log, .1, .2 ... (newest first, so that no rotation hides one), then
//!              read oldest first
//!   at the end of the newest: has it been renamed? then the files newer than it follow
//! ```

use super::{LogError, MOST_FILES, Record, file, io};
use crate::types::Moment;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest line of a file; a record's own bounds are far below.
const LONGEST: u64 = 1 << 20;

const BLOCK: u64 = 64 << 10;

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// None older.
    pub since: Option<Moment>,
    /// None younger.
    pub until: Option<Moment>,
    /// This many from the end at most.
    pub tail: Option<u64>,
}

/// Reads records in the order in which they were written.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    query: Query,
    /// Oldest first; the last one may still grow.
    files: VecDeque<Open>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    inode: u64,
    reader: BufReader<File>,
}

impl Reader {
    /// Opens the log of a directory; fine when there is none yet.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn open(directory: &Path, query: Query) -> Result<Self, LogError> {
        let mut files = newer_than(directory, None)?;
        if let Some(tail) = query.tail {
            keep_tail(directory, &mut files, tail)?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            query,
            files,
            begun: Vec::new(),
        })
    }

    /// The next record that is there already; `None` at the end, which may move: ask again.
    ///
    /// # Errors
    /// [`LogError::Record`] for a damaged line, which is passed by; [`LogError::Io`].
    pub fn next_record(&mut self) -> Result<Option<Record>, LogError> {
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            let record = Record::decode(&line).map_err(|why| LogError::Record {
                path: self.directory.clone(),
                why,
            })?;
            let early = self.query.since.is_some_and(|since| record.time < since);
            let late = self.query.until.is_some_and(|until| record.time > until);
            if !early && !late {
                return Ok(Some(record));
            }
        }
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        loop {
            if self.files.is_empty() {
                self.files = newer_than(&self.directory, None)?;
            }
            let Some(current) = self.files.front_mut() else {
                return Ok(None);
            };
            if read_line(&self.directory, current, &mut self.begun)? {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
            if self.files.len() == 1 {
                let inode = self.files.front().map(|open| open.inode);
                self.files.extend(newer_than(&self.directory, inode)?);
            }
            // Whatever was written to the old file was written before its successor was made.
            if self.files.len() == 1 {
                return Ok(None);
            }
            let Some(current) = self.files.front_mut() else {
                return Ok(None);
            };
            if read_line(&self.directory, current, &mut self.begun)? {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
            self.begun.clear();
            self.files.pop_front();
        }
    }
}

/// Goes on with a line; true when its end was there.
fn read_line(directory: &Path, from: &mut Open, begun: &mut Vec<u8>) -> Result<bool, LogError> {
    let mut bounded = from.reader.by_ref().take(LONGEST);
    let read = bounded.read_until(b'\n', begun);
    read.map_err(io("read", directory))?;
    if begun.last() == Some(&b'\n') {
        begun.pop();
        return Ok(true);
    }
    if begun.len() as u64 >= LONGEST {
        begun.clear();
        return Err(LogError::Record {
            path: directory.to_owned(),
            why: "longer than any record".to_owned(),
        });
    }
    Ok(false)
}

/// Opens the files that are newer than the one with this inode number; all, without one.
fn newer_than(directory: &Path, inode: Option<u64>) -> Result<VecDeque<Open>, LogError> {
    let mut found: VecDeque<Open> = VecDeque::new();
    for number in 0..=MOST_FILES {
        let path = file(directory, number);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let opened = match opened {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && number > 1 => break,
            // Between two renames of a rotation one of these may be missing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(io("open", &path))?,
        };
        let own = opened.metadata().map_err(io("look at", &path))?.ino();
        if Some(own) == inode {
            break;
        }
        // A rotation since the last step has shown it once already.
        if found.front().is_none_or(|newer| newer.inode != own) {
            found.push_front(Open {
                inode: own,
                reader: BufReader::new(opened),
            });
        }
    }
    Ok(found)
}

/// Drops and winds forward so that `tail` records are left.
fn keep_tail(directory: &Path, files: &mut VecDeque<Open>, tail: u64) -> Result<(), LogError> {
    let mut wanted = tail;
    let mut kept = VecDeque::new();
    while let Some(mut open) = files.pop_back() {
        let start = start_of_last(open.reader.get_mut(), &mut wanted);
        let start = start.map_err(io("read", directory))?;
        let sought = open.reader.seek(SeekFrom::Start(start));
        sought.map_err(io("read", directory))?;
        kept.push_front(open);
        if wanted == 0 {
            break;
        }
    }
    *files = kept;
    Ok(())
}

/// Where the last `wanted` lines begin; lowers `wanted` by what is there.
fn start_of_last(file: &mut File, wanted: &mut u64) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    // The last line's own end is none of an earlier line.
    let mut first = true;
    if *wanted == 0 {
        return Ok(end);
    }
    let mut lines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            if first {
                first = false;
                lines = 1;
                continue;
            }
            if lines == *wanted {
                *wanted = 0;
                return Ok(start + at as u64 + 1);
            }
            lines += 1;
        }
        end = start;
    }
    *wanted -= lines;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::{FILE, Limits, Log, Stream};
    use super::*;
    use std::fs;

    fn small() -> Limits {
        Limits {
            size: 2000,
            files: 4,
        }
    }

    fn rest(reader: &mut Reader) -> String {
        let mut text = String::new();
        while let Some(record) = reader.next_record().unwrap() {
            text.push_str(std::str::from_utf8(&record.bytes).unwrap());
        }
        text
    }

    fn numbers(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("{n}\n")).collect()
    }

    #[test]
    fn a_follower_loses_nothing_over_rotations() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), small()).unwrap();
        let mut reader = Reader::open(directory.path(), Query::default()).unwrap();
        let mut text = String::new();
        for number in 0..400 {
            log.take(Stream::Stdout, format!("{number}\n").as_bytes())
                .unwrap();
            // Now and then only, so that whole files lie between.
            if number % 67 == 0 {
                text.push_str(&rest(&mut reader));
            }
        }
        text.push_str(&rest(&mut reader));
        assert_eq!(text, numbers(0..400));
    }

    #[test]
    fn the_tail_reaches_back_over_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), small()).unwrap();
        let text = numbers(0..80);
        log.take(Stream::Stdout, text.as_bytes()).unwrap();
        for number in 80..100 {
            log.take(Stream::Stdout, format!("{number}\n").as_bytes())
                .unwrap();
        }
        assert!(directory.path().join("container.log.1").exists());
        for tail in [0, 1, 5, 19, 20, 21, 60, 100, 1000] {
            let query = Query {
                tail: Some(tail),
                ..Query::default()
            };
            let mut reader = Reader::open(directory.path(), query).unwrap();
            let first = 100_u32.saturating_sub(tail as u32);
            assert_eq!(rest(&mut reader), numbers(first..100), "tail {tail}");
        }
    }

    #[test]
    fn times_bound_it_and_damage_is_passed_by() {
        let directory = tempfile::tempdir().unwrap();
        let lines = [
            "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2006-01-01T00:00:01Z\"}",
            "\0\0\0",
            "{\"log\":\"b\\n\",\"stream\":\"stdout\",\"time\":\"2006-01-01T00:00:02Z\"}",
            "{\"log\":\"c\\n\",\"stream\":\"stdout\",\"time\":\"2006-01-01T00:00:03Z\"}",
            "{\"log\":\"half a li",
        ];
        fs::write(directory.path().join(FILE), lines.join("\n")).unwrap();
        let query = Query {
            since: Moment::parse("2006-01-01T00:00:01Z"),
            until: Moment::parse("2006-01-01T00:00:02Z"),
            tail: None,
        };
        let mut reader = Reader::open(directory.path(), query).unwrap();
        assert_eq!(reader.next_record().unwrap().unwrap().bytes, b"a\n");
        assert!(reader.next_record().is_err());
        assert_eq!(reader.next_record().unwrap().unwrap().bytes, b"b\n");
        assert_eq!(reader.next_record().unwrap(), None);
    }
}
