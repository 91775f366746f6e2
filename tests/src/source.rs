//! Rust source as text: enough of a reader for the repository's own rules (`tests/tidy.rs`).

use std::path::Path;

/// Text without comments and without the contents of string literals, line by line.
pub fn code(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(length) = literal(rest) {
            line.push_str("\"\"");
            length
        } else {
            if character == '\n' {
                lines.push(std::mem::take(&mut line));
            } else {
                line.push(character);
            }
            rest = &rest[character.len_utf8()..];
            continue;
        };
        // Line numbers stay right through literals of several lines.
        for _ in rest[..skip].matches('\n') {
            lines.push(std::mem::take(&mut line));
        }
        rest = &rest[skip..];
    }
    lines.push(line);
    lines
}

/// The length of the string or character literal that `rest` begins with.
fn literal(rest: &str) -> Option<usize> {
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return Some(
                rest[body..]
                    .find(&end)
                    .map_or(rest.len(), |at| body + at + end.len()),
            );
        }
        return None;
    }
    if rest.starts_with('"') {
        let mut escaped = false;
        for (at, character) in rest.char_indices().skip(1) {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Some(at + 1),
                _ => {}
            }
        }
        return Some(rest.len());
    }
    ["'\"'", "'\\\"'", "'\\''", "'\\\\'"]
        .iter()
        .find(|c| rest.starts_with(**c))
        .map(|c| c.len())
}

/// The module below `src/` that a file belongs to: `fs/src/ops/lookup.rs` → `ops`.
pub fn module_of(path: &Path) -> Option<String> {
    let mut parts = path
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned());
    let (_, source, first) = (parts.next()?, parts.next()?, parts.next()?);
    (source == "src").then(|| first.trim_end_matches(".rs").to_owned())
}

/// Modules of the own crate that a file names, with the line: `crate::NAME` and, since `use
/// crate::{a, b}` is allowed, the names in such a list.
pub fn crate_names(text: &str) -> Vec<(usize, String)> {
    let word = |s: &str| {
        s.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let code = code(text).join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let boundary = code[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        if !boundary {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && !c.is_whitespace() => {
                            found.push((line, word(&list[i..])));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}
