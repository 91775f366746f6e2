//! `.dockerignore`: which files of a context are none of the build's business.
//!
//! Docker's rules: one pattern a line, the last that fits decides, `!` takes files back in, and what
//! fits a directory fits all below it. `*` and `?` stop at `/`, `**` does not.

/// The patterns of a `.dockerignore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<(Pattern, bool)>,
}

/// One pattern, as steps; matched in time of the product of pattern and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Char(char),
    /// `?`
    One,
    /// `[a-z]`, `[^a-z]`: whether it is turned round, and the ranges.
    Class(bool, Vec<(char, char)>),
    /// `*`
    Name,
    /// `**` at the end.
    All,
    /// `**/`: any directories, or none.
    Directories,
}

impl Ignore {
    /// Reads a `.dockerignore`.
    ///
    /// # Errors
    /// A pattern that means nothing, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (back, body) = match line.strip_prefix('!') {
                Some(body) => (true, body.trim()),
                None => (false, line),
            };
            let bad = |why: &str| format!("line {}: {line:?}: {why}", at + 1);
            if body.is_empty() {
                return Err(bad("a pattern is missing behind !"));
            }
            let clean = clean(body);
            if !clean.is_empty() {
                let pattern = Pattern::parse(&clean).map_err(|why| bad(&why))?;
                patterns.push((pattern, back));
            }
        }
        Ok(Self { patterns })
    }

    /// Whether a path (relative, no `.` or `..`) is left out.
    pub fn matches(&self, path: &str) -> bool {
        let mut hidden = false;
        for (pattern, back) in &self.patterns {
            // The other patterns change nothing.
            if hidden == *back && pattern.fits_or_above(path) {
                hidden = !back;
            }
        }
        hidden
    }

    /// Whether something below a directory that is left out may be taken back in.
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|(_, back)| *back)
    }
}

/// A path without `.`, `..`, double and outer slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A class without end, or `\` at the end.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            steps.push(match c {
                '?' => Step::One,
                '*' if chars.next_if_eq(&'*').is_none() => Step::Name,
                '*' => match chars.peek() {
                    None => Step::All,
                    Some('/') => {
                        chars.next();
                        Step::Directories
                    }
                    Some(_) => Step::All,
                },
                '[' => class(&mut chars)?,
                '\\' => Step::Char(chars.next().ok_or("\\ at its end")?),
                c => Step::Char(c),
            });
        }
        Ok(Self(steps))
    }

    /// Whether it fits the whole path.
    pub(super) fn fits(&self, path: &str) -> bool {
        let mut now = vec![false; self.0.len() + 1];
        self.enter(&mut now, 0);
        for c in path.chars() {
            let mut next = vec![false; self.0.len() + 1];
            for (at, step) in self.0.iter().enumerate().filter(|(at, _)| now[*at]) {
                match step {
                    Step::Directories => {
                        next[at] = true;
                        if c == '/' {
                            self.enter(&mut next, at + 1);
                        }
                    }
                    Step::All => self.enter(&mut next, at),
                    Step::Name if c != '/' => self.enter(&mut next, at),
                    Step::One if c != '/' => self.enter(&mut next, at + 1),
                    Step::Char(own) if *own == c => self.enter(&mut next, at + 1),
                    Step::Class(turned, ranges) if c != '/' => {
                        let within = ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
                        if within != *turned {
                            self.enter(&mut next, at + 1);
                        }
                    }
                    _ => {}
                }
            }
            now = next;
        }
        now[self.0.len()]
    }

    /// Whether it fits the path or a directory that it is in.
    fn fits_or_above(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| self.fits(&path[..end]))
    }

    /// Marks a step as possible, and those behind it that it may be nothing before.
    fn enter(&self, steps: &mut [bool], mut at: usize) {
        loop {
            steps[at] = true;
            match self.0.get(at) {
                Some(Step::Name | Step::All | Step::Directories) => at += 1,
                _ => return,
            }
        }
    }
}

/// A class, behind its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Step, String> {
    let turned = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
            Some('\\') => chars.next(),
            other => other,
        };
        let first = match chars.peek() {
            Some(']') if !ranges.is_empty() => {
                chars.next();
                return Ok(Step::Class(turned, ranges));
            }
            _ => one(chars).ok_or("[ without its ]")?,
        };
        let last = match chars.next_if_eq(&'-') {
            Some(_) => one(chars).ok_or("[ without its ]")?,
            None => first,
        };
        ranges.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_patterns_as_docker_has_them() {
        for (pattern, path, wanted) in [
            ("*", "a", true),
            ("*.go", "x.go", true),
            ("*.go", "d/x.go", false),
            ("**/*.go", "d/e/x.go", true),
            ("**/*.go", "x.go", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/**", "a/x/y", true),
            ("/a/", "a", true),
            ("./a/../b", "b", true),
            ("a", "a/below/it", true),
            ("a", "ab", false),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("**", "any/thing", true),
            ("a.b", "axb", false),
            ("é*", "éa", true),
        ] {
            let ignore = Ignore::parse(pattern).unwrap();
            assert_eq!(ignore.matches(path), wanted, "{pattern} {path}");
        }
        for bad in ["[", "[a", "a\\", "!", "[]", "[^"] {
            assert!(Ignore::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_that_fits_decides() {
        let text = "# no\n\n  *.md\n!README*.md\nREADME-secret.md\ndocs\n!docs/keep\n#x\n.\n";
        let ignore = Ignore::parse(text).unwrap();
        for (path, wanted) in [
            ("a.md", true),
            ("README.md", false),
            ("README-secret.md", true),
            ("docs/a", true),
            ("docs/keep/x", false),
            ("src/a.md", false),
            ("#x", false),
        ] {
            assert_eq!(ignore.matches(path), wanted, "{path}");
        }
        assert!(ignore.takes_back());
    }

    /// A pattern of many stars would take for ever if every way were tried.
    #[test]
    fn many_stars_take_no_time() {
        let ignore = Ignore::parse(&"*a".repeat(60)).unwrap();
        assert!(!ignore.matches(&format!("{}b", "a".repeat(2000))));
    }
}
