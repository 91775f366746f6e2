//! Go's template language, as far as docker's users need it: text to a tree.
//!
//! ```text
//!   {{.Name}}  {{json .State}}  {{range $k, $v := .Labels}}...{{else}}...{{end}}
//!   {{if eq .State.Status "running"}}...{{else if ...}}...{{end}}  {{with .X}}...{{end}}
//!   {{index .Mounts 0}}  {{.ID | printf "%.12s" | upper}}  {{$x := .Y}}  {{- trims -}}
//! ```

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Node {
    Text(String),
    /// Printed.
    Print(Pipe),
    /// Not printed.
    Set(String, Pipe),
    If(Vec<(Pipe, Vec<Node>)>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range {
        names: Vec<String>,
        over: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each given the result of the one before as its last argument.
pub(in crate::cli) type Pipe = Vec<Vec<Term>>;

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Term {
    /// `.A.B`; none is the dot itself.
    Field(Vec<String>),
    /// `$x.A.B`; `$` is the whole.
    Variable(String, Vec<String>),
    /// A function's name.
    Word(String),
    Text(String),
    Number(f64),
    Nil,
    /// `(pipe).A.B`
    Group(Pipe, Vec<String>),
}

/// What ends a list of nodes.
#[derive(Debug, PartialEq)]
enum Stop {
    End,
    Else(String),
    Finished,
}

/// Parses a template; the error is a part of a sentence.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = Pieces { rest: text };
    let (nodes, stop) = pieces.nodes()?;
    match stop {
        Stop::Finished => Ok(nodes),
        Stop::End => Err("unexpected {{end}}".to_owned()),
        Stop::Else(_) => Err("unexpected {{else}}".to_owned()),
    }
}

struct Pieces<'a> {
    rest: &'a str,
}

impl Pieces<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), String> {
        let mut nodes = Vec::new();
        loop {
            let Some((before, after)) = self.rest.split_once("{{") else {
                push_text(&mut nodes, self.rest);
                self.rest = "";
                return Ok((nodes, Stop::Finished));
            };
            let trimmed = after.strip_prefix("- ");
            let before = if trimmed.is_some() {
                before.trim_end()
            } else {
                before
            };
            push_text(&mut nodes, before);
            let inside = trimmed.unwrap_or(after);
            let end = end_of_action(inside).ok_or("{{ is not closed by }}")?;
            let (action, rest) = inside.split_at(end);
            let rest = rest.strip_prefix("}}").unwrap_or(rest);
            let trimmed = action.strip_suffix(" -");
            self.rest = if trimmed.is_some() {
                rest.trim_start()
            } else {
                rest
            };
            let action = trimmed.unwrap_or(action).trim();
            if let Some(stop) = self.action(action, &mut nodes)? {
                return Ok((nodes, stop));
            }
        }
    }

    fn action(&mut self, action: &str, nodes: &mut Vec<Node>) -> Result<Option<Stop>, String> {
        if action.starts_with("/*") {
            return Ok(None);
        }
        let (word, rest) = action
            .split_once(char::is_whitespace)
            .unwrap_or((action, ""));
        match word {
            "end" => return Ok(Some(Stop::End)),
            "else" => return Ok(Some(Stop::Else(rest.trim().to_owned()))),
            "if" => nodes.push(self.conditions(rest)?),
            "with" => {
                let over = pipe(rest)?;
                let (body, otherwise) = self.block()?;
                nodes.push(Node::With(over, body, otherwise));
            }
            "range" => {
                let (names, over) = match rest.split_once(":=") {
                    Some((names, over)) => (variables(names)?, over),
                    None => (Vec::new(), rest),
                };
                let over = pipe(over)?;
                let (body, otherwise) = self.block()?;
                nodes.push(Node::Range {
                    names,
                    over,
                    body,
                    otherwise,
                });
            }
            _ => nodes.push(match split_assignment(action) {
                Some((name, value)) => Node::Set(name.to_owned(), pipe(value)?),
                None => Node::Print(pipe(action)?),
            }),
        }
        Ok(None)
    }

    fn conditions(&mut self, first: &str) -> Result<Node, String> {
        let mut branches = Vec::new();
        let mut condition = pipe(first)?;
        loop {
            let (body, stop) = self.nodes()?;
            branches.push((condition, body));
            match stop {
                Stop::End => return Ok(Node::If(branches, Vec::new())),
                Stop::Finished => return Err("{{if}} has no {{end}}".to_owned()),
                Stop::Else(rest) if rest.is_empty() => {
                    let (otherwise, stop) = self.nodes()?;
                    if stop != Stop::End {
                        return Err("{{else}} has no {{end}}".to_owned());
                    }
                    return Ok(Node::If(branches, otherwise));
                }
                Stop::Else(rest) => {
                    let rest = rest.strip_prefix("if ").ok_or("want {{else if ...}}")?;
                    condition = pipe(rest)?;
                }
            }
        }
    }

    /// A body, and what stands after its `{{else}}`.
    fn block(&mut self) -> Result<(Vec<Node>, Vec<Node>), String> {
        let (body, stop) = self.nodes()?;
        match stop {
            Stop::End => Ok((body, Vec::new())),
            Stop::Else(rest) if rest.is_empty() => match self.nodes()? {
                (otherwise, Stop::End) => Ok((body, otherwise)),
                _ => Err("{{else}} has no {{end}}".to_owned()),
            },
            _ => Err("{{range}} or {{with}} has no {{end}}".to_owned()),
        }
    }
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    if !text.is_empty() {
        nodes.push(Node::Text(text.to_owned()));
    }
}

/// Where `}}` stands, outside of quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text.get(at..)?.starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

fn split_assignment(action: &str) -> Option<(&str, &str)> {
    let (name, value) = action.split_once(":=").or_else(|| {
        let (name, value) = action.split_once('=')?;
        Some((name, value))
    })?;
    let name = name.trim().strip_prefix('$')?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    plain.then_some((name, value))
}

fn variables(text: &str) -> Result<Vec<String>, String> {
    let name = |text: &str| {
        let name = text.trim().strip_prefix('$').unwrap_or_default();
        (!name.is_empty()).then(|| name.to_owned())
    };
    let names: Option<Vec<_>> = text.split(',').map(name).collect();
    names
        .filter(|names| names.len() <= 2)
        .ok_or_else(|| format!("{:?}: want one or two variables", text.trim()))
}

fn pipe(text: &str) -> Result<Pipe, String> {
    let mut words = Words { rest: text };
    let pipe = words.pipe()?;
    if words.rest.is_empty() {
        Ok(pipe)
    } else {
        Err(format!("unexpected {:?}", words.rest))
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn pipe(&mut self) -> Result<Pipe, String> {
        let mut pipe = vec![Vec::new()];
        loop {
            self.rest = self.rest.trim_start();
            let Some(first) = self.rest.chars().next() else {
                break;
            };
            if first == ')' {
                break;
            }
            if first == '|' {
                self.skip(1);
                pipe.push(Vec::new());
                continue;
            }
            let term = self.term(first)?;
            if let Some(command) = pipe.last_mut() {
                command.push(term);
            }
        }
        if pipe.iter().any(Vec::is_empty) {
            return Err("a command is empty".to_owned());
        }
        Ok(pipe)
    }

    fn term(&mut self, first: char) -> Result<Term, String> {
        match first {
            '(' => {
                self.skip(1);
                let group = self.pipe()?;
                if !self.rest.starts_with(')') {
                    return Err("( is not closed by )".to_owned());
                }
                self.skip(1);
                let fields = self.word();
                Ok(Term::Group(group, fields_of(&fields)))
            }
            '"' => self.quoted().map(Term::Text),
            '`' => {
                let (text, rest) = self
                    .rest
                    .get(1..)
                    .and_then(|rest| rest.split_once('`'))
                    .ok_or("` is not closed")?;
                let text = text.to_owned();
                self.rest = rest;
                Ok(Term::Text(text))
            }
            _ => {
                let word = self.word();
                if word.is_empty() {
                    return Err(format!("unexpected {first:?}"));
                }
                Ok(simple(&word))
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.skip(at + 1);
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => return Err("unknown escape in a text".to_owned()),
                },
                c => text.push(c),
            }
        }
        Err("\" is not closed".to_owned())
    }

    fn word(&mut self) -> String {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "()|\"`".contains(c))
            .unwrap_or(self.rest.len());
        let word = self.rest.get(..end).unwrap_or_default().to_owned();
        self.skip(end);
        word
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

fn simple(word: &str) -> Term {
    if let Some(rest) = word.strip_prefix('$') {
        let (name, fields) = rest.split_once('.').unwrap_or((rest, ""));
        return Term::Variable(name.to_owned(), fields_of(fields));
    }
    if word.starts_with('.') {
        return Term::Field(fields_of(word));
    }
    match word {
        "nil" => Term::Nil,
        _ => match word.parse() {
            Ok(number) => Term::Number(number),
            Err(_) => Term::Word(word.to_owned()),
        },
    }
}

fn fields_of(text: &str) -> Vec<String> {
    let names = text.split('.').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
