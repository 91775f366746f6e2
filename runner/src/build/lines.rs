//! A Dockerfile's text as the lines of its instructions.
//!
//! Directives (`# escape=…`) come first; comments and empty lines are left out, also inside of a
//! continued line; here-documents are taken from the lines behind theirs.

use super::words;

/// Instructions that take here-documents.
const TAKE_DOCUMENTS: [&str; 3] = ["RUN", "COPY", "ADD"];

/// What is wrong, and where: line from 1, column and width in characters, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line of the file, from 1.
    pub line: usize,
    /// Characters before the place.
    pub column: usize,
    /// Characters of the place.
    pub width: usize,
    /// What is wrong, and what is wanted.
    pub why: String,
}

impl Fault {
    /// The message for a user: where, why, the line itself and a caret below the place.
    pub fn show(&self, file: &str, text: &str) -> String {
        let source = text.lines().nth(self.line - 1).unwrap_or_default();
        let shown: String = source
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let margin = self.line.to_string();
        format!(
            "{file}:{margin}: {}\n  {margin} | {shown}\n  {} | {}{}",
            self.why,
            " ".repeat(margin.len()),
            " ".repeat(self.column),
            "^".repeat(self.width.max(1)),
        )
    }
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The word that ends it.
    pub name: String,
    /// Its lines.
    pub text: String,
    /// Variables in it are expanded: the word was not quoted.
    pub expand: bool,
}

/// One instruction's line, continued ones joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text.
    pub text: String,
    /// The here-documents it names, in order.
    pub documents: Vec<Document>,
    /// Offset in the text, line and column there, for each piece.
    places: Vec<(usize, usize, usize)>,
}

impl Line {
    /// A line that stands alone, as `--change` has it.
    pub fn alone(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            documents: Vec::new(),
            places: vec![(0, 1, 0)],
        }
    }

    /// The line of the file it begins at, from 1.
    pub fn number(&self) -> usize {
        self.places.first().map_or(1, |place| place.1)
    }

    /// A fault at `width` bytes from `offset` of the text.
    pub fn fault(&self, offset: usize, width: usize, why: impl Into<String>) -> Fault {
        let before = |place: &&(usize, usize, usize)| place.0 <= offset;
        let (start, line, column) = *self.places.iter().rev().find(before).unwrap_or(&(0, 1, 0));
        let skipped = self.text.get(start..offset).unwrap_or_default();
        let part = self.text.get(offset..offset + width).unwrap_or_default();
        Fault {
            line,
            column: column + skipped.chars().count(),
            width: part.chars().count(),
            why: why.into(),
        }
    }
}

/// All instructions' lines, and the character that escapes.
///
/// # Errors
/// A bad directive, or a here-document without end.
pub fn lines(text: &str) -> Result<(Vec<Line>, char), Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source: Vec<&str> = text
        .split('\n')
        .map(|l| l.strip_suffix('\r').unwrap_or(l))
        .collect();
    let (escape, mut at) = directives(&source)?;
    let mut found = Vec::new();
    while at < source.len() {
        if is_void(source[at]) {
            at += 1;
            continue;
        }
        let mut line = Line {
            text: String::new(),
            documents: Vec::new(),
            places: Vec::new(),
        };
        let mut goes_on = true;
        while goes_on && at < source.len() {
            let raw = source[at];
            at += 1;
            if !line.places.is_empty() && is_void(raw) {
                continue;
            }
            let begin = match line.places.is_empty() {
                true => raw.len() - raw.trim_start().len(),
                false => 0,
            };
            let body = &raw[begin..];
            let column = raw[..begin].chars().count();
            line.places.push((line.text.len(), at, column));
            let kept = continued(body, escape);
            goes_on = kept.is_some();
            line.text.push_str(kept.unwrap_or(body));
        }
        line.text.truncate(line.text.trim_end().len());
        documents(&mut line, escape, &source, &mut at)?;
        if !line.text.is_empty() {
            found.push(line);
        }
    }
    Ok((found, escape))
}

/// An empty line or a comment.
fn is_void(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// The line without its last character, if that says that it goes on.
fn continued(line: &str, escape: char) -> Option<&str> {
    let kept = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!kept.ends_with(escape)).then_some(kept)
}

/// The escape character, and the first line behind the directives.
fn directives(source: &[&str]) -> Result<(char, usize), Fault> {
    let (mut escape, mut seen) = (None, Vec::new());
    for (at, line) in source.iter().enumerate() {
        let directive = line
            .trim()
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='));
        let Some((key, value)) = directive else {
            return Ok((escape.unwrap_or('\\'), at));
        };
        let key = key.trim().to_ascii_lowercase();
        if !["syntax", "escape", "check"].contains(&key.as_str()) {
            return Ok((escape.unwrap_or('\\'), at));
        }
        let fault = |why: String| Fault {
            line: at + 1,
            column: 0,
            width: line.chars().count(),
            why,
        };
        if seen.contains(&key) {
            return Err(fault(format!("directive {key} stands twice")));
        }
        if key == "escape" {
            escape = Some(match value.trim() {
                "\\" => '\\',
                "`" => '`',
                other => return Err(fault(format!("escape {other:?}: want \\ or `"))),
            });
        }
        seen.push(key);
    }
    Ok((escape.unwrap_or('\\'), source.len()))
}

/// Takes the here-documents that a line names from the lines behind it.
fn documents(line: &mut Line, escape: char, source: &[&str], at: &mut usize) -> Result<(), Fault> {
    let mut words = line.text.split_whitespace();
    let mut verb = words.next().unwrap_or_default().to_ascii_uppercase();
    if verb == "ONBUILD" {
        verb = words.next().unwrap_or_default().to_ascii_uppercase();
    }
    if !TAKE_DOCUMENTS.contains(&verb.as_str()) || !line.text.contains("<<") {
        return Ok(());
    }
    for (offset, word) in words::split(&line.text, escape) {
        let Some((name, tabs, expand)) = document_name(word, escape) else {
            continue;
        };
        let mut text = String::new();
        loop {
            let Some(next) = source.get(*at) else {
                let why = format!("here-document without its end: a line {name} is missing");
                return Err(line.fault(offset, word.len(), why));
            };
            *at += 1;
            let next = if tabs {
                next.trim_start_matches('\t')
            } else {
                next
            };
            if next == name {
                break;
            }
            text.push_str(next);
            text.push('\n');
        }
        line.documents.push(Document { name, text, expand });
    }
    Ok(())
}

/// The name in `<<NAME`, `<<-"NAME"`, `3<<NAME`; whether tabs go, and variables are expanded.
fn document_name(word: &str, escape: char) -> Option<(String, bool, bool)> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = words::expand(rest, escape, &|_| None).ok()?;
    let quoted = rest.contains(['"', '\'', escape]);
    (!name.is_empty()).then_some((name, tabs, !quoted))
}
