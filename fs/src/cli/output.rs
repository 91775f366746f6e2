//! What the verbs print: paths of any bytes, as text and as JSON.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::{Map, Value};

use crate::layer::packed::print::hex;

/// How a verb tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON document
    Json,
}

/// Prints to standard output; a reader that has gone is no failure.
pub(super) fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("writing to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints a JSON document.
pub(super) fn print_json(document: &Value) -> Result<(), String> {
    print(&format!("{document:#}\n"))
}

/// A path as text, in one line: as it is, or in quotes with escapes (`\n`, `\xff`) where it holds control
/// characters, quotes, backslashes, an arrow, outer spaces, or what is no UTF-8.
pub(super) fn quoted(path: impl AsRef<OsStr>) -> String {
    let bytes = path.as_ref().as_bytes();
    let plain = std::str::from_utf8(bytes).ok().filter(|text| {
        let odd = |c: char| c.is_control() || matches!(c, '"' | '\\');
        !text.is_empty() && text.trim() == *text && !text.contains(odd) && !text.contains(" -> ")
    });
    if let Some(text) = plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    escape(&mut quoted, c.encode_utf8(&mut bytes).as_bytes());
                }
                c => quoted.push(c),
            }
        }
        escape(&mut quoted, chunk.invalid());
    }
    quoted.push('"');
    quoted
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Puts bytes into a JSON object: under `key` as text, and, where that loses something, also under
/// `key_hex`.
pub(super) fn put(object: &mut Map<String, Value>, key: &str, value: impl AsRef<OsStr>) {
    let bytes = value.as_ref().as_bytes();
    let text = String::from_utf8_lossy(bytes).into_owned();
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_hex"), hex(bytes).into());
    }
    object.insert(key.to_owned(), text.into());
}

/// A SHA-256 as it is written.
pub(super) fn digest(bytes: &[u8; 32]) -> String {
    format!("sha256:{}", hex(bytes))
}

/// A progress bar over so many bytes; hidden where nobody looks.
pub(super) fn bar(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() || bytes == 0 {
        return ProgressBar::hidden();
    }
    let template = "{bar:32} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    // A template is wrong or right for ever; the plain bar will do.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(bytes).with_style(style);
    bar.with_finish(ProgressFinish::AndClear)
}

/// A list of paths as JSON strings.
pub(super) fn texts<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Value {
    let text = |path: &Path| Value::from(path.to_string_lossy().into_owned());
    paths.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_line_and_says_what_it_is() {
        for (path, text) in [
            (&b"usr/bin/a b"[..], "usr/bin/a b"),
            ("na\u{ef}ve".as_bytes(), "na\u{ef}ve"),
            (b"", "\"\""),
            (b" a", "\" a\""),
            (b"a\nb", "\"a\\nb\""),
            (b"a\"\\", "\"a\\\"\\\\\""),
            (b"a -> b", "\"a -> b\""),
            (b"\xff\x1b[0m", "\"\\xff\\x1b[0m\""),
        ] {
            assert_eq!(quoted(OsStr::from_bytes(path)), text);
        }
    }

    #[test]
    fn json_keeps_bytes_that_are_no_text() {
        let mut object = Map::new();
        put(&mut object, "path", "plain");
        put(&mut object, "from", OsStr::from_bytes(b"a\xff"));
        let value = Value::from(object);
        assert_eq!(value["path"], "plain");
        assert_eq!(value["from"], "a\u{fffd}");
        assert_eq!(value["from_hex"], "61ff");
        assert_eq!(value.get("path_hex"), None);
    }
}
