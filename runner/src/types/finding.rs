//! What a check finds.

use std::fmt::Display;
use std::path::PathBuf;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A word for scripts.
    pub code: &'static str,
    /// Something does not work; else it takes room only.
    pub problem: bool,
    /// Where.
    pub place: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What mends it, in words.
    pub advice: String,
    /// What became of it.
    pub mend: Mend,
}

/// Whether something was mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// That is left to the user.
    Left,
    /// It could be.
    Possible,
    /// It was.
    Done,
    /// Why not.
    Failed(String),
}

impl Finding {
    /// Something does not work. `advice` is the user's to follow.
    pub fn problem(
        code: &'static str,
        place: impl Into<PathBuf>,
        what: impl Display,
        advice: impl Display,
    ) -> Self {
        Self {
            code,
            problem: true,
            place: place.into(),
            what: what.to_string(),
            advice: advice.to_string(),
            mend: Mend::Left,
        }
    }

    /// Something takes room only.
    pub fn note(self) -> Self {
        Self {
            problem: false,
            ..self
        }
    }

    /// What the advice says is done now, if `repair`.
    pub fn mend<E: Display>(self, repair: bool, act: impl FnOnce() -> Result<(), E>) -> Self {
        let mend = match repair.then(act) {
            None => Mend::Possible,
            Some(Ok(())) => Mend::Done,
            Some(Err(error)) => Mend::Failed(error.to_string()),
        };
        Self { mend, ..self }
    }
}
