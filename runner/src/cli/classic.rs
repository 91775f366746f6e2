//! The classic manual's spelling of flags: long names behind a single dash, `-rm=true`.
//!
//! ```text
//!   runner run -rm -name=web -e A=b -dns 10.0.0.1  IMAGE  -rm ...
//!   └ as is ─┘ └───────── rewritten ─────────────┘  └── not ours: untouched ──┘
//! ```
//!
//! Which flags there are, and which take a value, is asked of clap's own definition, so there is
//! no second list. A word that is a long flag's name wins over a bundle of short flags.

use crate::error::{Error, Result};
use clap::{Arg, Command};
use std::ffi::OsString;

/// Rewrites the flags of `run` in front of the image into clap's spelling.
pub(super) fn modernise(args: Vec<OsString>, command: &Command) -> Result<Vec<OsString>> {
    let Some(run) = command.find_subcommand("run") else {
        return Ok(args);
    };
    let flags = Flags {
        known: run.get_arguments().chain(command.get_arguments()).collect(),
    };
    let mut done: Vec<OsString> = Vec::with_capacity(args.len() + 1);
    let mut rest = args.into_iter();
    done.extend(rest.next());
    let mut verb = false;
    while let Some(arg) = rest.next() {
        let Some(text) = arg
            .to_str()
            .filter(|text| text.len() > 1 && text.starts_with('-'))
        else {
            if !verb && arg == "run" {
                verb = true;
                done.push(arg);
                continue;
            }
            if verb {
                // The image: nothing after it is ours.
                done.push("--".into());
            }
            done.push(arg);
            break;
        };
        if text == "--" {
            done.push(arg);
            break;
        }
        let (text, wants_value) = if verb {
            flags.rewrite(text)?
        } else {
            flags.plain(text)
        };
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

    /// A flag in front of the verb: only whether the next word is its value.
    fn plain(&self, text: &str) -> (Option<String>, bool) {
        let long = text.strip_prefix("--").and_then(|name| self.long(name));
        (Some(text.to_owned()), long.is_some_and(takes_value))
    }

    /// One flag, or bundle of flags, in today's spelling (nothing if it is switched off by
    /// `=false`), and whether the next word is its value.
    fn rewrite(&self, text: &str) -> Result<(Option<String>, bool)> {
        let body = text.trim_start_matches('-');
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(arg) = self.long(name).filter(|_| name.len() > 1) else {
            return Ok((Some(text.to_owned()), self.bundle_wants_value(text)));
        };
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
        assert_eq!(rest("runner rmi -rm"), ["-rm"]);
    }
}
