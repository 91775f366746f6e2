//! The classic manual's spelling of flags: long names behind a single dash, `-rm=true`.
//!
//! ```text
//!   runner run -rm -name=web -e A=b -dns 10.0.0.1  IMAGE  -rm ...
//!   └ as is ─┘ └───────── rewritten ─────────────┘  └── not ours: untouched ──┘
//!   runner ps -notrunc          runner attach -sig-proxy=false WEB
//! ```
//!
//! Which verbs and flags there are, and which take a value, is asked of clap's own definition, so
//! there is no second list. A word that is a long flag's name wins over a bundle of short flags.

use crate::error::{Error, Result};
use clap::{Arg, Command};
use std::ffi::OsString;

/// Verbs whose flags end at the first word that is none: the rest is another program's.
const ANOTHERS: [&str; 4] = ["run", "create", "exec", "top"];

/// Rewrites flags into clap's spelling.
pub(super) fn modernise(args: Vec<OsString>, command: &Command) -> Result<Vec<OsString>> {
    let mut done: Vec<OsString> = Vec::with_capacity(args.len() + 1);
    let mut rest = args.into_iter();
    done.extend(rest.next());
    let mut verb = command;
    while let Some(arg) = rest.next() {
        let flags = Flags {
            known: verb
                .get_arguments()
                .chain(command.get_arguments())
                .collect(),
        };
        let text = arg.to_str().unwrap_or_default();
        if text == "--" {
            done.push(arg);
            break;
        }
        if text.len() < 2 || !text.starts_with('-') {
            if let Some(found) = verb.find_subcommand(text) {
                verb = found;
            } else if ANOTHERS.contains(&verb.get_name()) {
                done.extend(["--".into(), arg]);
                break;
            }
            done.push(arg);
            continue;
        }
        let (text, wants_value) = flags.rewrite(text)?;
        done.extend(text.map(OsString::from));
        if wants_value {
            done.extend(rest.next());
        }
    }
    done.extend(rest);
    Ok(done)
}

struct Flags<'a> {
    known: Vec<&'a Arg>,
}

impl<'a> Flags<'a> {
    fn long(&self, name: &str) -> Option<&'a Arg> {
        let named = |arg: &&&Arg| {
            arg.get_long() == Some(name)
                || arg
                    .get_all_aliases()
                    .is_some_and(|names| names.contains(&name))
        };
        self.known.iter().find(named).copied()
    }

    fn short(&self, name: char) -> Option<&'a Arg> {
        let named = |arg: &&&Arg| arg.get_short() == Some(name);
        self.known.iter().find(named).copied()
    }

    /// One flag, or bundle of flags, in today's spelling (nothing if it is switched off by
    /// `=false`), and whether the next word is its value.
    fn rewrite(&self, text: &str) -> Result<(Option<String>, bool)> {
        let body = text.trim_start_matches('-');
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let mut name = name;
        let long = self.long(name).filter(|_| name.len() > 1);
        // `-f=true` is docker's, too.
        let short = || {
            let letter = name.chars().next().filter(|c| c.len_utf8() == name.len())?;
            let switch = self.short(letter).filter(|arg| !takes_value(arg))?;
            Some(switch).filter(|_| value.is_some())
        };
        let Some(arg) = long.or_else(short) else {
            return Ok((Some(text.to_owned()), self.bundle_wants_value(text)));
        };
        if long.is_none() {
            name = arg.get_long().unwrap_or(name);
        }
        match value {
            None => Ok((Some(format!("--{name}")), takes_value(arg))),
            Some(value) if takes_value(arg) => Ok((Some(format!("--{name}={value}")), false)),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => {
                Ok((Some(format!("--{name}")), false))
            }
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok((None, false)),
            Some(value) => Err(Error::Usage(format!(
                "--{name} {value:?}: want true or false"
            ))),
        }
    }

    /// Whether the last flag of `-abc` takes the next word: `-ie` does, `-eX` does not.
    fn bundle_wants_value(&self, text: &str) -> bool {
        let Some(body) = text.strip_prefix('-').filter(|body| !body.starts_with('-')) else {
            return false;
        };
        let mut names = body.chars();
        while let Some(name) = names.next() {
            if self.short(name).is_some_and(takes_value) {
                return names.as_str().is_empty();
            }
        }
        false
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn modern(line: &str) -> Vec<String> {
        let args = line.split(' ').map(OsString::from).collect();
        let args = modernise(args, &super::super::Cli::command()).unwrap();
        args.into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect()
    }

    #[test]
    fn single_dashes_before_the_image_only() {
        assert_eq!(
            modern("runner run -rm -name web -dns=10.0.0.1 -it -e A=b host -rm -name x"),
            [
                "runner",
                "run",
                "--rm",
                "--name",
                "web",
                "--dns=10.0.0.1",
                "-it",
                "-e",
                "A=b",
                "--",
                "host",
                "-rm",
                "-name",
                "x"
            ]
        );
    }

    #[test]
    fn truth_values() {
        let rest = |line: &str| modern(line).split_off(2);
        assert_eq!(
            rest("runner run -rm=true --privileged=false host"),
            ["--rm", "--", "host"]
        );
        assert_eq!(
            rest("runner run --name=a=b host"),
            ["--name=a=b", "--", "host"]
        );
        let args = ["runner", "run", "-rm=maybe", "host"].map(OsString::from);
        assert!(modernise(args.into(), &super::super::Cli::command()).is_err());
    }

    #[test]
    fn every_verb_has_its_classic_flags() {
        let rest = |line: &str| modern(line).split_off(2);
        assert_eq!(rest("runner ps -notrunc -aq"), ["--notrunc", "-aq"]);
        assert_eq!(
            rest("runner attach web -sig-proxy=false"),
            ["web", "--sig-proxy=false"]
        );
        assert_eq!(rest("runner rm web -force -v"), ["web", "--force", "-v"]);
        assert_eq!(rest("runner stop -time=3 web"), ["--time=3", "web"]);
        assert_eq!(rest("runner logs -f=true web"), ["--follow", "web"]);
        assert_eq!(rest("runner rm -- -x"), ["--", "-x"]);
    }

    #[test]
    fn values_are_not_images() {
        let rest = |line: &str| modern(line).split_off(2);
        assert_eq!(
            rest("runner run -ie A host true"),
            ["-ie", "A", "--", "host", "true"]
        );
        assert_eq!(rest("runner run -m64m host"), ["-m64m", "--", "host"]);
        assert_eq!(rest("runner run -m 64m host"), ["-m", "64m", "--", "host"]);
        assert_eq!(rest("runner run -- host -x"), ["--", "host", "-x"]);
        assert_eq!(
            rest("runner --root /r run -rm host"),
            ["/r", "run", "--rm", "--", "host"]
        );
        assert_eq!(
            rest("runner create -it web ls -l"),
            ["-it", "--", "web", "ls", "-l"]
        );
    }
}
