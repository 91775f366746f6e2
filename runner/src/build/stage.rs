//! One stage of a build: an image's layers, and what each instruction adds to them.
//!
//! ```text
//!   RUN        container of the layers ──runs──> its changes ──commit──> layer
//!   COPY, ADD  sources ──tar──> unpacked in such a container, whose root is where links lead ──> layer
//!   others     the configuration alone
//! ```

use super::cache::{Cache, key};
use super::ignore::Ignore;
use super::parse::{Instruction, Kind};
use super::settings::apply;
use super::sources::open;
use super::words;
use crate::container::builds::Build;
use crate::container::directory::Directory;
use crate::container::files::{Files, Way};
use crate::container::home::Home;
use crate::container::spec::{Command, Limits, LogChoice, Restart, Rights, Seccomp, Spec, Stop};
use crate::container::{Id, Lock};
use crate::error::{Error, Result};
use crate::image::{History, Image, Layer, OciConfig, Store};
use crate::network::{NameServers, Settings, Source as Network};
use crate::types::Moment;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where RUN finds programs if its image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What all stages of a build share.
pub struct Workshop<'a> {
    /// All containers.
    pub home: &'a Home,
    /// Where it is written down which containers are the build's.
    pub build: &'a Build,
    /// All images.
    pub store: &'a Store,
    /// Gives the image of a name, brought into the store if it is not there.
    pub provide: &'a dyn Fn(&str) -> Result<Image>,
    /// What was made before.
    pub cache: Cache<'a>,
    /// The context, and what of it is left out.
    pub context: Option<(OwnedFd, Ignore)>,
    /// The network of RUN.
    pub network: Network,
    /// Files for RUN, by their ids.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// What ADD has fetched, by address.
    pub fetched: BTreeMap<String, crate::registry::Download>,
    /// Shows what RUN says.
    pub loud: bool,
    /// The character that escapes in the Dockerfile.
    pub escape: char,
    /// Takes lines for the user.
    pub tell: &'a mut dyn FnMut(&str),
}

/// A stage so far.
#[derive(Default)]
pub struct Stage {
    /// Its name, in lower case.
    pub name: Option<String>,
    /// Its image's settings.
    pub config: OciConfig,
    /// Its layers, lowest first, held.
    pub layers: Vec<Layer>,
    /// Its variables.
    pub args: BTreeMap<String, String>,
    /// The image or stage it began with, for messages.
    pub from: String,
    /// CMD is of this stage, not inherited.
    pub own_command: bool,
}

impl Stage {
    /// What an instruction sees: arguments, and over them the environment.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.args.clone();
        let env = self.config.config.env.iter();
        let pairs = env.filter_map(|line| line.split_once('='));
        variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        variables
    }

    /// The cache's key of what `parts` tell, done to these layers.
    pub(super) fn key(&self, parts: &[&str]) -> String {
        let layers = self.layers.iter().map(|layer| layer.diff_id.as_str());
        key(&parts.iter().copied().chain(layers).collect::<Vec<_>>())
    }
}

/// The last stage of a name.
pub(super) fn named<'a>(
    mut names: impl DoubleEndedIterator<Item = Option<&'a str>> + ExactSizeIterator,
    name: &str,
) -> Option<usize> {
    let name = name.to_lowercase();
    names.rposition(|stage| stage == Some(name.as_str()))
}

/// The stage of a name or number.
pub(super) fn named_or_numbered<'a>(
    names: impl DoubleEndedIterator<Item = Option<&'a str>> + ExactSizeIterator,
    name: &str,
) -> Option<usize> {
    let count = names.len();
    named(names, name).or_else(|| name.parse().ok().filter(|index| *index < count))
}

/// Why not, in words: the caller knows the line.
pub(super) fn refused(why: impl Into<String>) -> Error {
    Error::Refused(why.into())
}

impl Workshop<'_> {
    /// Does one instruction. `stages` are those before it.
    ///
    /// # Errors
    /// What is wrong with it, or went wrong; nothing is published then but layers in the cache.
    pub fn step(&mut self, stage: &mut Stage, stages: &[Stage], step: &Instruction) -> Result<()> {
        let variables = stage.variables();
        let value = |name: &str| variables.get(name).cloned();
        let escape = self.escape;
        let full = |word: &str| words::expand(word, escape, &value).map_err(refused);
        let layers = stage.layers.len();
        match &step.kind {
            Kind::Run(run) => self.run(stage, stages, run, &full)?,
            Kind::Copy(copy) => self.copy(stage, stages, copy, false, &full)?,
            Kind::Add(copy) => self.copy(stage, stages, copy, true, &full)?,
            Kind::Maintainer(name) => stage.config.author = full(name)?,
            kind => {
                let (config, own) = (&mut stage.config.config, &mut stage.own_command);
                apply(kind, config, own, escape, &value).map_err(refused)?;
            }
        }
        if matches!(step.kind, Kind::Workdir(_)) {
            self.make_work_directory(stage)?;
        }
        let created = Some(Moment::now().to_string());
        stage.config.created.clone_from(&created);
        stage.config.history.push(History {
            created,
            created_by: step.text.trim().to_owned(),
            empty_layer: stage.layers.len() == layers,
            ..History::default()
        });
        Ok(())
    }

    /// WORKDIR makes its directory.
    fn make_work_directory(&mut self, stage: &mut Stage) -> Result<()> {
        let path = stage.config.config.working_dir.clone();
        let key = stage.key(&["WORKDIR", &path]);
        if path == "/" || self.cached(stage, &key) {
            return Ok(());
        }
        let made = self.layer(stage, |_, files| {
            if is_directory(files.root(), &path) {
                return Ok(false);
            }
            make_directory(files, &path).map(|()| true)
        })?;
        match made {
            Some(layer) => self.take(stage, key, layer),
            None => Ok(()),
        }
    }

    /// Takes the layer of a key from the cache, if it is there.
    pub(super) fn cached(&mut self, stage: &mut Stage, key: &str) -> bool {
        let Some(layer) = self.cache.find(key) else {
            return false;
        };
        (self.tell)(" ---> Using cache");
        stage.layers.push(layer);
        true
    }

    pub(super) fn take(&mut self, stage: &mut Stage, key: String, layer: Layer) -> Result<()> {
        self.cache.keep(key, &layer).map_err(refused)?;
        stage.layers.push(layer);
        Ok(())
    }

    /// A here-document with its variables put in.
    pub(super) fn document(&self, stage: &Stage, text: &str) -> Result<String> {
        let variables = stage.variables();
        let value = |name: &str| variables.get(name).cloned();
        words::expand_document(text, self.escape, &value).map_err(refused)
    }

    /// A container of a stage's layers.
    pub(super) fn spec(&self, stage: &Stage, words: Vec<String>, network: Network) -> Result<Spec> {
        let id = Id::new()?;
        let image = &stage.config.config;
        let mut env = stage.variables();
        env.entry("PATH".to_owned())
            .or_insert_with(|| PATH.to_owned());
        let cwd = Some(image.working_dir.as_str()).filter(|path| path.starts_with('/'));
        Ok(Spec {
            created: Moment::now(),
            image: stage.from.clone(),
            image_id: None,
            lowers: self.lowers(&stage.layers)?,
            labels: BTreeMap::new(),
            remove: false,
            command: Command {
                entrypoint: Vec::new(),
                cmd: words,
                env: env.into_iter().collect(),
                cwd: PathBuf::from(cwd.unwrap_or("/")),
                user: image.user.clone(),
                groups: Vec::new(),
                terminal: false,
                input: false,
                input_once: false,
                small_init: false,
            },
            stop: Stop {
                signal: 15,
                seconds: 10,
            },
            restart: Restart::default(),
            log: LogChoice::None,
            // The same in each: what tools write down of it must not differ.
            hostname: "buildkitsandbox".to_owned(),
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            read_only: false,
            network: Settings {
                source: network,
                hosts: Vec::new(),
                name_servers: NameServers::default(),
                publish: Vec::new(),
                publish_all: false,
                expose: Vec::new(),
            },
            limits: Limits::default(),
            rights: Rights {
                privileged: false,
                add: Vec::new(),
                drop: Vec::new(),
                seccomp: Seccomp::Default,
                // sudo, su and package managers change users while they build; what is in the image can
                // do nothing more than root in the same container, which RUN is anyway.
                no_new_privileges: false,
                devices: Vec::new(),
            },
            health: None,
            id,
        })
    }

    /// What is mounted of layers; an empty directory where there is none (FROM scratch).
    pub(super) fn lowers(&self, layers: &[Layer]) -> Result<Vec<PathBuf>> {
        if !layers.is_empty() {
            return Ok(self.store.lowers(layers));
        }
        let empty = self.store.root().join("builds/empty");
        std::fs::create_dir_all(&empty).map_err(Error::io("make", &empty))?;
        Ok(vec![empty])
    }

    /// Makes a container, which goes with the build, however that ends.
    pub(super) fn create(&self, spec: &Spec) -> Result<(Directory, Lock)> {
        self.build.add(&spec.id)?;
        self.home.create(spec, None)
    }

    pub(super) fn remove(&self, spec: &Spec) -> Result<()> {
        let directory = self.home.directory(spec.id.clone());
        let lock = self.home.lock(&spec.id)?;
        self.home.remove(&directory, lock, true)?;
        self.build.forget(&spec.id);
        Ok(())
    }
}

pub(super) fn is_directory(root: &OwnedFd, path: &str) -> bool {
    open(root, Path::new(path), OFlags::PATH | OFlags::DIRECTORY).is_ok()
}

fn make_directory(files: &Files, path: &str) -> Result<()> {
    let path = path.to_owned();
    let helper = files.helper(Way::In, move |_| {
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {path}: {error}"))
    })?;
    helper.finish()?.map_err(refused)
}
