//! Signals by name and number, as users write them.

use crate::error::{Error, Result};
use nix::sys::signal::Signal;

/// The first and last of the kernel's real-time signals as libraries number them.
const REAL_TIME: (i32, i32) = (34, 64);

/// A signal: `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+3`.
pub fn parse(flag: &'static str, text: &str) -> Result<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = name.parse().ok().or_else(|| by_name(name));
    number
        .filter(|number| (1..=REAL_TIME.1).contains(number))
        .ok_or_else(|| Error::Value {
            flag,
            value: text.to_owned(),
            why: "no such signal; want a name as TERM or a number as 15".to_owned(),
        })
}

fn by_name(name: &str) -> Option<i32> {
    let (first, last) = REAL_TIME;
    let offset = |text: &str| match text {
        "" => Some(0),
        text => text.get(1..)?.parse::<i32>().ok(),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(first + offset(rest).filter(|_| rest.is_empty() || rest.starts_with('+'))?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Some(last - offset(rest).filter(|_| rest.is_empty() || rest.starts_with('-'))?);
    }
    let full = match name {
        "POLL" => "SIGIO".to_owned(),
        "CLD" => "SIGCHLD".to_owned(),
        other => format!("SIG{other}"),
    };
    full.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// The name of a signal, as `SIGTERM`; a number if it has none.
pub fn name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse("-s", text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-9", "NOPE", "RTMIN3", "RTMAX+1", "SIG"] {
            assert!(parse("-s", bad).is_err(), "{bad}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(40), "40");
    }
}
