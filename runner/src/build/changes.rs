//! `--change`: an image's settings by instructions, without a build.

use super::parse::{Instruction, parse_alone};
use super::settings::apply;
use crate::error::{Error, Result};
use crate::image::Config;

/// Instructions of settings, in their order.
#[derive(Debug, Default)]
pub struct Changes(Vec<Instruction>);

impl Changes {
    /// Reads them: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER,
    /// VOLUME, WORKDIR.
    ///
    /// # Errors
    /// The first that is none of them, or is wrong in itself.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let read = |text: &String| parse_alone(text).map_err(|fault| refused(text, fault.why));
        let changes = Self(texts.iter().map(read).collect::<Result<_>>()?);
        changes.apply(&mut Config::default())?;
        Ok(changes)
    }

    /// Applies them.
    ///
    /// # Errors
    /// What is wrong only with these settings: `${NAME:?…}`.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        let mut own_command = false;
        for change in &self.0 {
            match apply(&change.kind, config, &mut own_command, '\\', &|_| None) {
                Ok(true) => {}
                Ok(false) => {
                    let verb = change.text.split_whitespace().next().unwrap_or_default();
                    let why = format!("{verb} changes no settings; that takes a build");
                    return Err(refused(&change.text, why));
                }
                Err(why) => return Err(refused(&change.text, why)),
            }
        }
        Ok(())
    }
}

fn refused(text: &str, why: String) -> Error {
    Error::Value {
        flag: "--change",
        value: text.to_owned(),
        why,
    }
}
