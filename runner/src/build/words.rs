//! Words of an instruction: split as a shell would, quotes taken off, variables put in.

/// How deep `${A:-${B:-…}}` may go.
const DEEPEST: usize = 32;

/// Longest that a word may grow to, in bytes.
const LONGEST: usize = 1 << 20;

/// The words, quotes kept, each with its offset.
pub fn split(text: &str, escape: char) -> Vec<(usize, &str)> {
    let (mut words, mut start, mut quote) = (Vec::new(), None, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|begin| (begin, &text[begin..at])));
            continue;
        }
        start.get_or_insert(at);
        match quote {
            _ if c == escape && quote != Some('\'') => drop(chars.next()),
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
    }
    words.extend(start.map(|begin| (begin, &text[begin..])));
    words
}

/// Takes quotes and escapes off a word and puts variables in; `value` knows them.
///
/// # Errors
/// A quote or brace without end, an unknown form of `${…}`, `${NAME:?…}` without a value.
pub fn expand(
    word: &str,
    escape: char,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    Lexer::new(word, escape, value).until(None, 0)
}

/// Puts variables into a here-document, whose quotes stay.
///
/// # Errors
/// As [`expand`].
pub fn expand_document(
    text: &str,
    escape: char,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut lexer = Lexer::new(text, escape, value);
    lexer.raw = true;
    lexer.until(None, 0)
}

struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    value: &'a dyn Fn(&str) -> Option<String>,
    /// Quotes are characters as any.
    raw: bool,
}

impl<'a> Lexer<'a> {
    fn new(text: &str, escape: char, value: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
            escape,
            value,
            raw: false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.get(self.at).copied();
        self.at += usize::from(next.is_some());
        next
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// All up to `end`, which is taken, or the end of the text.
    fn until(&mut self, end: Option<char>, depth: usize) -> Result<String, String> {
        if depth > DEEPEST {
            return Err("variables nested too deeply".to_owned());
        }
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == end => return Ok(out),
                '\'' if !self.raw => self.single(&mut out)?,
                '"' if !self.raw => self.double(&mut out, depth)?,
                '$' => self.variable(&mut out, depth)?,
                _ if c == self.escape => match self.next() {
                    Some(next) if self.raw && next != '$' && next != c => out.extend([c, next]),
                    Some(next) => out.push(next),
                    None => out.push(c),
                },
                _ => out.push(c),
            }
            if out.len() > LONGEST {
                return Err("the value is longer than 1 MiB".to_owned());
            }
        }
        match end {
            Some(end) => Err(format!("{end} is missing")),
            None => Ok(out),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return Err("' without its end".to_owned()),
            }
        }
    }

    fn double(&mut self, out: &mut String, depth: usize) -> Result<(), String> {
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(out, depth)?,
                Some(c) if c == self.escape => match self.next() {
                    Some(next) if next == '"' || next == '$' || next == c => out.push(next),
                    Some(next) => out.extend([c, next]),
                    None => return Err("\" without its end".to_owned()),
                },
                Some(c) => out.push(c),
                None => return Err("\" without its end".to_owned()),
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self
            .peek()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(c);
            self.at += 1;
        }
        name
    }

    fn variable(&mut self, out: &mut String, depth: usize) -> Result<(), String> {
        if self.peek() != Some('{') {
            let name = self.name();
            match name.is_empty() {
                true => out.push('$'),
                false => out.push_str(&(self.value)(&name).unwrap_or_default()),
            }
            return Ok(());
        }
        self.at += 1;
        let name = self.name();
        if name.is_empty() {
            return Err("${ wants a name".to_owned());
        }
        let value = (self.value)(&name);
        match self.next() {
            Some('}') => out.push_str(&value.unwrap_or_default()),
            Some(':') => {
                let form = self.next();
                let value = value.filter(|value| !value.is_empty());
                out.push_str(&self.choose(&name, value, form, depth)?);
            }
            Some(form @ ('-' | '+' | '?')) => {
                out.push_str(&self.choose(&name, value, Some(form), depth)?);
            }
            Some(form @ ('#' | '%')) => {
                let longest = self.peek() == Some(form);
                self.at += usize::from(longest);
                let pattern = self.until(Some('}'), depth + 1)?;
                out.push_str(&strip(&value.unwrap_or_default(), &pattern, form, longest));
            }
            Some('/') => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.until(Some('/'), depth + 1)?;
                let by = self.until(Some('}'), depth + 1)?;
                out.push_str(&replace(&value.unwrap_or_default(), &pattern, &by, all));
            }
            Some(c) => return Err(format!("${{{name}{c}…}} is no form that is known")),
            None => return Err("} is missing".to_owned()),
        }
        Ok(())
    }

    fn choose(
        &mut self,
        name: &str,
        value: Option<String>,
        form: Option<char>,
        depth: usize,
    ) -> Result<String, String> {
        let word = self.until(Some('}'), depth + 1)?;
        match (form, value) {
            (Some('-'), value) => Ok(value.unwrap_or(word)),
            (Some('+'), value) => Ok(value.map_or(String::new(), |_| word)),
            (Some('?'), Some(value)) => Ok(value),
            (Some('?'), None) if word.is_empty() => Err(format!("{name}: not set")),
            (Some('?'), None) => Err(format!("{name}: {word}")),
            _ => Err(format!("${{{name}:…}} wants - or + or ? behind the colon")),
        }
    }
}

/// Takes the shortest or longest match of a pattern off the begin (`#`) or the end.
fn strip(value: &str, pattern: &str, form: char, longest: bool) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).collect();
    cuts.push(value.len());
    // From the cut that takes least to the one that takes most, or the other way round.
    if (form == '#') == longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let (taken, kept) = if form == '#' {
            (head, tail)
        } else {
            (tail, head)
        };
        if matches(&pattern, &taken.chars().collect::<Vec<_>>()) {
            return kept.to_owned();
        }
    }
    value.to_owned()
}

/// Puts `by` where the pattern matches, longest first.
fn replace(value: &str, pattern: &str, by: &str, all: bool) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = value.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < text.len() {
        let end = (at + 1..=text.len())
            .rev()
            .find(|end| matches(&pattern, &text[at..*end]));
        match end.filter(|_| !pattern.is_empty()) {
            Some(end) => {
                out.push_str(by);
                at = end;
                if !all {
                    break;
                }
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out.extend(&text[at..]);
    out
}

/// Whether a pattern of `*` and `?` matches the whole text. Steps: at most the product of both.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some('\\') if pattern.get(p + 1) == Some(&text[t]) => (p, t) = (p + 2, t + 1),
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((after, from)) => {
                    (p, t) = (after, from + 1);
                    back = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        let known = [("A", "a"), ("E", ""), ("P", "foobarbaz"), ("F", "x.tar.gz")];
        known
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn as_a_shell_has_it() {
        for (word, wanted) in [
            ("$A", "a"),
            ("${A}b$N", "ab"),
            ("'$A'", "$A"),
            ("\"$A \\$A \\x\"", "a $A \\x"),
            ("\\$A", "$A"),
            ("${E:-x${A}}", "xa"),
            ("${E-x}", ""),
            ("${N-x}", "x"),
            ("${A:+y}${E:+n}${E+s}", "ys"),
            ("${A:?never}", "a"),
            ("${P#f*b}", "arbaz"),
            ("${P##f*b}", "az"),
            ("${F%.*}", "x.tar"),
            ("${F%%.*}", "x"),
            ("${P/ba?/-}", "foo-baz"),
            ("${P//ba?/-}", "foo--"),
            ("100$", "100$"),
            ("a\\ b", "a b"),
        ] {
            assert_eq!(expand(word, '\\', &value).as_deref(), Ok(wanted), "{word}");
        }
        for bad in [
            "${", "${A", "'x", "\"x", "${A:x}", "${A!}", "${N:?no}", "${N?}", "${}",
        ] {
            assert!(expand(bad, '\\', &value).is_err(), "{bad}");
        }
        assert_eq!(
            expand_document("'$A' \"\\$A\" \\n", '\\', &value).unwrap(),
            "'a' \"$A\" \\n"
        );
    }

    #[test]
    fn words_keep_their_quotes() {
        let words: Vec<_> = split("a \"b c\"d  e\\ f 'g\\' h", '\\')
            .into_iter()
            .map(|w| w.1)
            .collect();
        assert_eq!(words, ["a", "\"b c\"d", "e\\ f", "'g\\'", "h"]);
    }
}
