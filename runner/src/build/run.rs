//! RUN: a container of the stage's layers, whose changes become a layer.

use super::copy::Full;
use super::mounts::{Held, SCRIPT};
use super::parse::{Command as Script, Run};
use super::settings::argv;
use super::stage::{Stage, Workshop, refused};
use crate::container::client::{self, Following, Outcome};
use crate::container::spec::Spec;
use crate::container::{Keys, commit};
use crate::error::Result;
use crate::image::Layer;
use crate::network::Source as Network;

/// A here-document that names its own interpreter.
fn own_interpreter(command: &Script) -> Option<&str> {
    match command {
        Script::Shell(text) if text.starts_with("#!") && text.contains('\n') => Some(text),
        _ => None,
    }
}

impl Workshop<'_> {
    pub(super) fn run(
        &mut self,
        stage: &mut Stage,
        stages: &[Stage],
        run: &Run,
        full: Full<'_>,
    ) -> Result<()> {
        let mut network = None;
        let mut texts = Vec::new();
        for (flag, value) in &run.flags {
            match (flag.as_str(), value.as_str()) {
                ("network", "default") => network = None,
                ("network", name @ ("none" | "host")) => network = Some(name),
                ("security", "sandbox") => {}
                ("mount", _) => texts.push(value),
                ("network", _) => {
                    return Err(refused(format!(
                        "--network={value}: want default, none or host"
                    )));
                }
                _ => return Err(refused(format!("RUN --{flag}={value} is not supported"))),
            }
        }
        let mounts = self.mounts(stage, &texts, full)?;
        let script = own_interpreter(&run.command);
        let words = match script {
            Some(_) => vec![SCRIPT.to_owned()],
            None => argv(&run.command, &stage.config.config),
        };
        let own_network = match network {
            Some(name) => Network::parse(&[name.to_owned()])?,
            None => self.network.clone(),
        };
        let mut spec = self.spec(stage, words, own_network)?;
        let mut more = Vec::new();
        more.extend(network.map(|name| format!("NETWORK {name}")));
        more.extend(script.map(|text| format!("SCRIPT {text}")));
        more.extend(self.mounts_key(stages, &mounts)?);
        let key = run_key(stage, &spec, &more);
        if self.cached(stage, &key) {
            return Ok(());
        }
        let held = self.prepare(stages, &mounts, script)?;
        spec.volumes.clone_from(&held.volumes);
        spec.tmpfs.clone_from(&held.tmpfs);
        let made = self.made(&spec, &held);
        let released = self.release(held);
        let layer = made?;
        released?;
        self.take(stage, key, layer)
    }

    /// The layer of what a container does.
    fn made(&mut self, spec: &Spec, held: &Held) -> Result<Layer> {
        let (directory, mut lock) = self.create(spec)?;
        let mut new_places = Vec::new();
        if !(held.volumes.is_empty() && held.tmpfs.is_empty()) {
            // What opens its files takes it anew.
            drop(lock);
            new_places = self.missing(&directory, held)?;
            lock = self.home.lock(&spec.id)?;
        }
        let following = Following {
            input: false,
            output: self.loud,
            error: self.loud,
            terminal: false,
            proxy: true,
            keys: Keys::default(),
        };
        let tell = &mut *self.tell;
        let ended = client::start_attached(&directory, lock, following, tell);
        let made = match ended {
            Ok(Outcome::Ended(ended)) if ended.code == 0 => self
                .tidy(&directory, new_places)
                .and_then(|()| commit::layer(self.home, &directory, spec, self.store)),
            Ok(Outcome::Ended(ended)) => Err(refused(format!(
                "the command {:?} returned a non-zero code: {}",
                spec.command.cmd.join(" "),
                ended.code
            ))),
            Ok(Outcome::Detached) => Err(refused("the container was let go")),
            Err(error) => Err(error),
        };
        self.remove(spec)?;
        Ok(made?.layer)
    }
}

/// The cache's key of a RUN; `more` is what only some have.
fn run_key(stage: &Stage, spec: &Spec, more: &[String]) -> String {
    let env = spec.command.env.iter();
    let env: Vec<String> = env.map(|(name, value)| format!("{name}={value}")).collect();
    let cwd = spec.command.cwd.to_string_lossy().into_owned();
    let mut parts = vec!["RUN", &spec.command.user, &cwd, "ENV"];
    parts.extend(env.iter().map(String::as_str));
    parts.push("ARGV");
    parts.extend(spec.command.cmd.iter().map(String::as_str));
    if !more.is_empty() {
        parts.push("WITH");
        parts.extend(more.iter().map(String::as_str));
    }
    parts.push("ON");
    stage.key(&parts)
}
