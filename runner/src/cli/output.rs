//! Writing to the user, without falling over when nobody reads.

use crate::container::home::Home;
use crate::error::{Error, Result};
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

/// Prints to standard output; a reader that has gone is no failure.
pub(super) fn print(text: &impl Display) -> Result<u8> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::system::<io::Error>(
            "write to standard output",
        )(error)),
        _ => Ok(0),
    }
}

/// As [`print`], for what need not be text.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<u8> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::system::<io::Error>(
            "write to standard output",
        )(error)),
        _ => Ok(0),
    }
}

/// Prints help to standard output, in colours if a terminal shows it.
pub(super) fn print_styled(text: &clap::builder::StyledStr) -> Result<u8> {
    if io::stdout().is_terminal() {
        print(&text.ansi())
    } else {
        print(text)
    }
}

/// Tells an error of ours.
pub(super) fn complain(error: &impl Display) {
    // Nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "runner: {error}");
}

/// Tells something that is no error, as it is.
pub(super) fn warn(text: &impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks before something is removed for good; anything but yes is no.
pub(super) fn confirm(what: &str) -> Result<bool> {
    let mut err = io::stderr();
    // Nobody to ask if this fails; then nobody says yes.
    let _ = write!(
        err,
        "WARNING! {what}\nAre you sure you want to continue? [y/N] "
    );
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(Error::system("read the answer"))?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(answer == "y" || answer == "yes")
}

/// Opens the containers of a root; what could not be cleaned up there is told.
pub(super) fn open_home(root: &Path) -> Result<Home> {
    let (home, problems) = Home::open(root)?;
    for problem in problems {
        warn(&format_args!("WARNING: {problem}"));
    }
    Ok(home)
}

/// Does something for each of the named; those that are done are printed, failures are told.
pub(super) fn for_each(names: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for name in names {
        match act(name) {
            Ok(()) => {
                print(&format_args!("{name}\n"))?;
            }
            Err(error) => {
                complain(&error);
                code = super::OURS;
            }
        }
    }
    Ok(code)
}
