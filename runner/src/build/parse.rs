//! The instructions of a Dockerfile.

use super::lines::{Document, Fault, Line, lines};
use super::words;
use crate::types::parse_duration;

/// All instructions, for what stands in their place.
const VERBS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A command as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `["program", "argument"]`.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image, or an earlier stage.
    pub image: String,
    /// `--platform`.
    pub platform: Option<String>,
    /// The name of this stage, in lower case.
    pub name: Option<String>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: Command,
    /// Its flags, names and values.
    pub flags: Vec<(String, String)>,
}

/// Where a copied file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern.
    Path(String),
    /// A here-document.
    Document(Document),
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied; at least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub target: String,
    /// Its flags, names and values.
    pub flags: Vec<(String, String)>,
}

/// `HEALTHCHECK`; times in nanoseconds, 0 for the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// The command; none for `NONE`.
    pub command: Option<Command>,
    /// From one to the next.
    pub interval: u64,
    /// How long one may take.
    pub timeout: u64,
    /// Failures do not count for so long after the start.
    pub start_period: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// What an instruction says. Variables are not put in yet, quotes not taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    From(From),
    Run(Run),
    Copy(Copy),
    Add(Copy),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Arg(Vec<(String, Option<String>)>),
    Workdir(String),
    User(String),
    Cmd(Command),
    Entrypoint(Command),
    Volume(Vec<String>),
    Expose(Vec<String>),
    Shell(Vec<String>),
    StopSignal(String),
    Health(Check),
    /// The line of another instruction, for builds that start from the image.
    OnBuild(String),
    Maintainer(String),
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: Kind,
    /// The line it begins at, from 1.
    pub line: usize,
    /// Its text, continued lines joined.
    pub text: String,
}

/// Reads a Dockerfile; gives its instructions and the character that escapes.
///
/// # Errors
/// The first thing that is wrong in it.
pub fn parse(text: &str) -> Result<(Vec<Instruction>, char), Fault> {
    let (lines, escape) = lines(text)?;
    let read = lines.iter().map(|line| instruction(line, escape));
    Ok((read.collect::<Result<_, _>>()?, escape))
}

/// Reads one instruction that stands alone.
///
/// # Errors
/// What is wrong in it.
pub fn parse_alone(text: &str) -> Result<Instruction, Fault> {
    instruction(&Line::alone(text.trim()), '\\')
}

/// An instruction's line in parts.
struct Parts<'a> {
    line: &'a Line,
    escape: char,
    verb: String,
    /// Where the arguments begin.
    at: usize,
    flags: Vec<(String, String)>,
}

fn instruction(line: &Line, escape: char) -> Result<Instruction, Fault> {
    let first = line.text.split_whitespace().next().unwrap_or_default();
    let verb = first.to_ascii_uppercase();
    if !VERBS.contains(&verb.as_str()) {
        let hint = match VERBS.iter().map(|v| (distance(v, &verb), v)).min() {
            Some((distance, known)) if distance <= 2 => format!("; did you mean {known}?"),
            _ => String::new(),
        };
        let why = format!("unknown instruction {first}{hint}");
        return Err(line.fault(0, first.len(), why));
    }
    let mut parts = Parts {
        line,
        escape,
        at: skip_blanks(&line.text, first.len()),
        verb,
        flags: Vec::new(),
    };
    parts.take_flags()?;
    if parts.rest().is_empty() {
        let why = format!("{} wants arguments", parts.verb);
        return Err(line.fault(0, first.len(), why));
    }
    Ok(Instruction {
        kind: parts.kind()?,
        line: line.number(),
        text: line.text.clone(),
    })
}

fn skip_blanks(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

impl Parts<'_> {
    fn rest(&self) -> &str {
        &self.line.text[self.at..]
    }

    fn fault(&self, why: impl Into<String>) -> Fault {
        self.line.fault(self.at, self.rest().len(), why)
    }

    /// The flags that stand before the arguments; each must be one of the instruction's.
    fn take_flags(&mut self) -> Result<(), Fault> {
        let known: &[&str] = match self.verb.as_str() {
            "FROM" => &["platform"],
            "RUN" => &["mount", "network", "security"],
            "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
            "ADD" => &[
                "chown",
                "chmod",
                "link",
                "checksum",
                "keep-git-dir",
                "exclude",
            ],
            "HEALTHCHECK" => &[
                "interval",
                "timeout",
                "start-period",
                "start-interval",
                "retries",
            ],
            _ => return Ok(()),
        };
        while self.rest().starts_with("--") {
            let length = self
                .rest()
                .find(char::is_whitespace)
                .unwrap_or(self.rest().len());
            let word = &self.rest()[..length];
            let body = &word[2..];
            let (name, value) = body.split_once('=').unwrap_or((body, ""));
            if !known.contains(&name) {
                let why = format!(
                    "{} has no flag --{name}; it has --{}",
                    self.verb,
                    known.join(", --")
                );
                return Err(self.line.fault(self.at, length, why));
            }
            let bare = ["link", "parents", "keep-git-dir"].contains(&name);
            if !bare && value.is_empty() {
                let why = format!("--{name} wants a value: --{name}=VALUE");
                return Err(self.line.fault(self.at, length, why));
            }
            self.flags.push((name.to_owned(), value.to_owned()));
            self.at = skip_blanks(&self.line.text, self.at + length);
        }
        Ok(())
    }

    fn kind(&self) -> Result<Kind, Fault> {
        Ok(match self.verb.as_str() {
            "FROM" => Kind::From(self.from()?),
            "RUN" => Kind::Run(Run {
                command: self.run(),
                flags: self.flags.clone(),
            }),
            "COPY" => Kind::Copy(self.copy()?),
            "ADD" => Kind::Add(self.copy()?),
            "ENV" => Kind::Env(self.pairs()?),
            "LABEL" => Kind::Label(self.pairs()?),
            "ARG" => Kind::Arg(self.args()?),
            "WORKDIR" => Kind::Workdir(self.rest().to_owned()),
            "USER" => Kind::User(self.one()?),
            "CMD" => Kind::Cmd(self.command()),
            "ENTRYPOINT" => Kind::Entrypoint(self.command()),
            "VOLUME" => Kind::Volume(self.list()),
            "EXPOSE" => Kind::Expose(self.words()),
            "SHELL" => match json(self.rest()).filter(|words| !words.is_empty()) {
                Some(words) => Kind::Shell(words),
                None => return Err(self.fault("SHELL wants a list: [\"program\", \"argument\"]")),
            },
            "STOPSIGNAL" => Kind::StopSignal(self.one()?),
            "HEALTHCHECK" => Kind::Health(self.health()?),
            "ONBUILD" => Kind::OnBuild(self.on_build()?),
            _ => Kind::Maintainer(self.rest().to_owned()),
        })
    }

    fn words(&self) -> Vec<String> {
        let words = words::split(self.rest(), self.escape).into_iter();
        words.map(|(_, word)| word.to_owned()).collect()
    }

    fn one(&self) -> Result<String, Fault> {
        match self.words().as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(self.fault(format!("{} wants one argument", self.verb))),
        }
    }

    /// A JSON list, or words.
    fn list(&self) -> Vec<String> {
        json(self.rest()).unwrap_or_else(|| self.words())
    }

    fn command(&self) -> Command {
        match json(self.rest()) {
            Some(words) => Command::Exec(words),
            None => Command::Shell(self.rest().to_owned()),
        }
    }

    fn from(&self) -> Result<From, Fault> {
        let words = self.words();
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name)),
            _ => return Err(self.fault("FROM wants IMAGE or IMAGE AS NAME")),
        };
        let name = name.map(|name| name.to_ascii_lowercase());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if let Some(name) = &name
            && !(name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain))
        {
            let why = format!("stage name {name:?}: want a letter, then letters, digits, - _ .");
            return Err(self.fault(why));
        }
        let platform = self.flags.iter().rev().find(|(flag, _)| flag == "platform");
        Ok(From {
            image: image.clone(),
            platform: platform.map(|(_, value)| value.clone()),
            name,
        })
    }

    /// A here-document alone is the script; else the shell gets the documents with the line.
    fn run(&self) -> Command {
        let documents = &self.line.documents;
        if documents.is_empty() {
            return self.command();
        }
        if documents.len() == 1 && self.words().len() == 1 {
            return Command::Shell(documents[0].text.clone());
        }
        let mut text = self.rest().to_owned();
        for document in documents {
            text.push_str(&format!("\n{}{}", document.text, document.name));
        }
        Command::Shell(text)
    }

    fn copy(&self) -> Result<Copy, Fault> {
        let mut documents = self.line.documents.iter();
        let mut paths = self.list();
        let target = paths.pop().unwrap_or_default();
        if paths.is_empty() || target.is_empty() {
            return Err(self.fault(format!("{} wants SOURCE… TARGET", self.verb)));
        }
        let sources: Vec<Source> = paths
            .into_iter()
            .map(|path| match documents.as_slice().first() {
                Some(document) if path.starts_with("<<") => {
                    documents.next();
                    Source::Document(document.clone())
                }
                _ => Source::Path(path),
            })
            .collect();
        if sources.len() > 1
            && !target.ends_with('/')
            && !target.ends_with(['"', '\'', '}'])
            && target != "."
        {
            let why = format!(
                "{}: with several sources the target is a directory and ends in /",
                self.verb
            );
            return Err(self.fault(why));
        }
        Ok(Copy {
            sources,
            target,
            flags: self.flags.clone(),
        })
    }

    /// `NAME=VALUE…`, or `NAME the rest`.
    fn pairs(&self) -> Result<Vec<(String, String)>, Fault> {
        let words = words::split(self.rest(), self.escape);
        let first = words.first().map_or("", |word| word.1);
        if !first.contains('=') {
            let value = self.rest()[first.len()..].trim_start();
            if value.is_empty() {
                return Err(self.fault(format!("{} wants NAME=VALUE", self.verb)));
            }
            return Ok(vec![(first.to_owned(), value.to_owned())]);
        }
        let pair = |(offset, word): (usize, &str)| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => {
                let why = format!("{word:?}: want NAME=VALUE; values with blanks want quotes");
                Err(self.line.fault(self.at + offset, word.len(), why))
            }
        };
        words.into_iter().map(pair).collect()
    }

    fn args(&self) -> Result<Vec<(String, Option<String>)>, Fault> {
        let arg = |(offset, word): (usize, &str)| {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word, None),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                let why = format!("{word:?}: want NAME or NAME=VALUE");
                return Err(self.line.fault(self.at + offset, word.len(), why));
            }
            Ok((name.to_owned(), value))
        };
        words::split(self.rest(), self.escape)
            .into_iter()
            .map(arg)
            .collect()
    }

    fn health(&self) -> Result<Check, Fault> {
        let mut check = Check::default();
        for (name, value) in &self.flags {
            let bad = || {
                self.fault(format!(
                    "--{name}={value}: want a length of time as 30s, or a number of retries"
                ))
            };
            if name == "retries" {
                check.retries = value.parse().map_err(|_| bad())?;
                continue;
            }
            let time = parse_duration(value).ok_or_else(bad)?;
            let time = u64::try_from(time.as_nanos()).map_err(|_| bad())?;
            match name.as_str() {
                "interval" => check.interval = time,
                "timeout" => check.timeout = time,
                "start-period" => check.start_period = time,
                _ => return Err(self.fault("--start-interval is not supported: leave it out")),
            }
        }
        let (word, command) = match self.rest().split_once(char::is_whitespace) {
            Some((word, command)) => (word, command.trim()),
            None => (self.rest(), ""),
        };
        check.command = match (word.to_ascii_uppercase().as_str(), command) {
            ("NONE", "") if self.flags.is_empty() => None,
            ("CMD", command) if !command.is_empty() => Some(match json(command) {
                Some(words) => Command::Exec(words),
                None => Command::Shell(command.to_owned()),
            }),
            _ => return Err(self.fault("HEALTHCHECK wants [FLAGS] CMD COMMAND, or NONE")),
        };
        Ok(check)
    }

    /// The line must be an instruction, and one that may stand there.
    fn on_build(&self) -> Result<String, Fault> {
        if !self.line.documents.is_empty() {
            return Err(self.fault("ONBUILD takes no here-documents"));
        }
        let inner = instruction(&Line::alone(self.rest()), self.escape);
        let inner = inner.map_err(|fault| self.fault(format!("ONBUILD: {}", fault.why)))?;
        match inner.kind {
            Kind::From(_) | Kind::OnBuild(_) | Kind::Maintainer(_) => {
                Err(self.fault("ONBUILD takes neither FROM nor ONBUILD nor MAINTAINER"))
            }
            _ => Ok(self.rest().to_owned()),
        }
    }
}

/// A JSON list of texts; anything else is none.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// How many letters differ, are missing or too many.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
