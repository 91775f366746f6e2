//! Which of a container's streams the caller follows.

use super::flags::Args;
use crate::container::Keys;
use crate::container::client::Following;
use crate::error::{Error, Result};
use std::io::IsTerminal;

/// Standard input, output, error.
pub(in crate::cli) type Wanted = [bool; 3];

/// What `-a` asks for, or what goes without saying.
pub(in crate::cli) fn wanted_streams(args: &Args) -> Result<Wanted> {
    if args.attach.is_empty() {
        return Ok([args.interactive, true, true]);
    }
    let mut wanted = [false; 3];
    for name in &args.attach {
        let at = match name.to_ascii_lowercase().as_str() {
            "stdin" => 0,
            "stdout" => 1,
            "stderr" => 2,
            _ => {
                return Err(Error::Value {
                    flag: "--attach",
                    value: name.clone(),
                    why: "want stdin, stdout or stderr".to_owned(),
                });
            }
        };
        if let Some(slot) = wanted.get_mut(at) {
            *slot = true;
        }
    }
    Ok(wanted)
}

/// The streams as the client takes them.
pub(in crate::cli) fn following(
    [input, output, error]: Wanted,
    terminal: bool,
    proxy: bool,
    keys: Option<&str>,
) -> Result<Following> {
    let keys = Keys::parse(keys.unwrap_or_default())?;
    if terminal && input && !std::io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    Ok(Following {
        input,
        output,
        error,
        terminal,
        proxy,
        keys,
    })
}
