//! A failed start as it travels from the child to the user.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose fault it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The container could not be set up: 125.
    Setup,
    /// The command is there but cannot be executed: 126.
    NotExecutable,
    /// The command is not there: 127.
    NotFound,
}

/// What failed, on what, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: Kind,
    /// The step, as a verb phrase.
    pub what: String,
    /// The object of the step; may be empty.
    pub on: String,
    /// The reason, and what to do.
    pub why: String,
}

impl Failure {
    /// A failed step of the set-up.
    pub fn setup(what: &str, on: &str, why: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Setup,
            what: what.to_owned(),
            on: on.to_owned(),
            why: why.to_string(),
        }
    }

    /// With parts short enough for one message and one line.
    pub(super) fn clipped(mut self) -> Self {
        const LONGEST: usize = 1024;
        for part in [&mut self.what, &mut self.on, &mut self.why] {
            if part.len() > LONGEST {
                let end = (0..LONGEST).rev().find(|&at| part.is_char_boundary(at));
                part.truncate(end.unwrap_or(0));
                part.push('…');
            }
        }
        self
    }

    /// The exit code that docker's users know.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Setup => 125,
            Kind::NotExecutable => 126,
            Kind::NotFound => 127,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.what.is_empty() || self.on.is_empty() {
            ""
        } else {
            " "
        };
        let colon = if self.what.is_empty() && self.on.is_empty() {
            ""
        } else {
            ": "
        };
        write!(f, "{}{space}{}{colon}{}", self.what, self.on, self.why)
    }
}

impl std::error::Error for Failure {}
