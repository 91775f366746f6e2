//! One record: its form in the file, and cutting streams into records.
//!
//! Text that is no UTF-8 stands in `log` with its bad bytes replaced, as with docker, and all of
//! it exactly in `hex`, so that nothing is lost.

use crate::types::{Moment, hex};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Longest piece of a line that makes one record, in bytes; as docker's.
const LONGEST: usize = 16 << 10;

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output; all of a terminal's.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line, or a piece of one, that a container has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it said it.
    pub stream: Stream,
    /// When it was read from the container.
    pub time: Moment,
    /// What; with the line's end, if it was seen.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: Stream,
    time: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<Cow<'a, str>>,
}

impl Record {
    /// Appends the record, as one line, to `to`.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let log = String::from_utf8_lossy(&self.bytes);
        let digits = matches!(log, Cow::Owned(_)).then(|| Cow::Owned(hex(&self.bytes)));
        let line = Line {
            log,
            stream: self.stream,
            time: Cow::Owned(self.time.to_string()),
            hex: digits,
        };
        // Text and numbers into memory: cannot fail.
        let _ = serde_json::to_writer(&mut *to, &line);
        to.push(b'\n');
    }

    /// Reads a line without its end; why it is no record otherwise.
    pub(super) fn decode(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let bytes = match &line.hex {
            None => line.log.as_bytes().to_vec(),
            Some(hex) => from_hex(hex).ok_or("hex: want pairs of hexadecimal digits")?,
        };
        let time = Moment::parse_exact(&line.time).ok_or("time: want RFC 3339")?;
        Ok(Self {
            stream: line.stream,
            time,
            bytes,
        })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
            _ => None,
        })
        .collect()
}

/// Cuts one stream into records; keeps the beginning of a line until its end comes.
#[derive(Debug)]
pub(super) struct Splitter {
    stream: Stream,
    begun: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            begun: Vec::new(),
        }
    }

    /// Whether the beginning of a line waits for its end.
    pub(super) fn waits(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Takes what was read; encodes every record that is complete.
    pub(super) fn take(&mut self, bytes: &[u8], time: Moment, to: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let mut rest = piece;
            while !rest.is_empty() {
                let room = LONGEST - self.begun.len();
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.begun.extend_from_slice(now);
                rest = later;
                if self.begun.len() == LONGEST || now.ends_with(b"\n") {
                    self.flush(time, to);
                }
            }
        }
    }

    /// Makes a record of what waits.
    pub(super) fn flush(&mut self, time: Moment, to: &mut Vec<u8>) {
        if self.begun.is_empty() {
            return;
        }
        let record = Record {
            stream: self.stream,
            time,
            bytes: std::mem::take(&mut self.begun),
        };
        record.encode(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(file: &[u8]) -> Vec<Record> {
        file.split_inclusive(|&b| b == b'\n')
            .map(|line| Record::decode(line.strip_suffix(b"\n").unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn as_docker_writes_it() {
        let mut file = Vec::new();
        let time = Moment::from_seconds(1_136_073_600);
        Splitter::new(Stream::Stderr).take(b"a \"b\" <c>\n", time, &mut file);
        let wanted = "{\"log\":\"a \\\"b\\\" <c>\\n\",\"stream\":\"stderr\",\
            \"time\":\"2006-01-01T00:00:00Z\"}\n";
        assert_eq!(String::from_utf8(file).unwrap(), wanted);
    }

    #[test]
    fn nothing_is_lost_whatever_the_pieces() {
        let mut text = b"\xff\xfe binary \0\r\nline\n\n".to_vec();
        text.extend(vec![b'x'; 40_000]);
        text.extend("\u{e9} end".as_bytes());
        for step in [1, 7, 4096, text.len()] {
            let mut splitter = Splitter::new(Stream::Stdout);
            let mut file = Vec::new();
            for piece in text.chunks(step) {
                splitter.take(piece, Moment::now(), &mut file);
            }
            splitter.flush(Moment::now(), &mut file);
            let records = records(&file);
            let joined: Vec<u8> = records.iter().flat_map(|r| r.bytes.clone()).collect();
            assert!(joined == text, "in steps of {step}");
            assert!(records.iter().all(|r| r.bytes.len() <= LONGEST));
            assert_eq!(records.len(), 6);
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for bad in [
            "",
            "{}",
            "{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"2006-01-01T00:00:00Z\"}",
            "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"now\"}",
            "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"2006-01-01T00:00:00Z\",\"hex\":\"0\"}",
            "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"2006-01-01T00:00:00Z\",\"y\":1}",
        ] {
            assert!(Record::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
