//! A whole build: the stages that the wanted one needs, one after the other.

use super::cache::key;
use super::mount_flags::field;
use super::parse::{From, Instruction, Kind, parse_alone};
use super::stage::{Stage, Workshop, named, named_or_numbered};
use super::words;
use crate::error::{Error, Result};
use crate::image::{ImageId, LOOSE, OciConfig, architecture};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be built.
pub struct Plan<'a> {
    /// The Dockerfile.
    pub instructions: &'a [Instruction],
    /// `--build-arg`.
    pub args: &'a BTreeMap<String, String>,
    /// `--target`: a stage's name or number; else the last.
    pub target: Option<&'a str>,
    /// `--label`.
    pub labels: &'a BTreeMap<String, String>,
}

/// One stage of the Dockerfile.
struct Part<'a> {
    from: &'a From,
    head: &'a Instruction,
    steps: &'a [Instruction],
}

/// Variables of proxies: known without ARG, and in no key of the cache.
const PREDEFINED: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// What goes wrong at a line.
fn at(line: usize) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Refused(why) => Error::Refused(format!("build: line {line}: {why}")),
        other => Error::Refused(format!("build: line {line}: {other}")),
    }
}

impl<'a> Plan<'a> {
    /// Builds; gives the image, which has no name yet.
    ///
    /// # Errors
    /// The first instruction that fails, with its line.
    pub fn run(&self, shop: &mut Workshop<'_>) -> Result<ImageId> {
        let (globals, parts) = self.parts(shop.escape)?;
        let last = self.last(&parts)?;
        let needed = needed(&parts, last, &globals, shop.escape);
        let count: usize = needed.iter().map(|n| parts[*n].steps.len() + 1).sum();
        let mut number = 0;
        let mut stages: Vec<Stage> = Vec::new();
        for (index, part) in parts.iter().enumerate().take(last + 1) {
            if !needed.contains(&index) {
                stages.push(empty(part.from));
                continue;
            }
            number += 1;
            (shop.tell)(&format!(
                "Step {number}/{count} : {}",
                part.head.text.trim()
            ));
            let begun = self.begin(shop, part, &globals, &stages);
            let mut stage = begun.map_err(at(part.head.line))?;
            let triggers = std::mem::take(&mut stage.config.config.on_build);
            for line in triggers {
                (shop.tell)(&format!("# Executing build trigger: {line}"));
                let step = parse_alone(&line);
                let step = step.map_err(|fault| at(part.head.line)(Error::Refused(fault.why)))?;
                self.one(shop, &mut stage, &stages, &globals, &step)
                    .map_err(at(part.head.line))?;
            }
            for step in part.steps {
                number += 1;
                (shop.tell)(&format!("Step {number}/{count} : {}", step.text.trim()));
                self.one(shop, &mut stage, &stages, &globals, step)
                    .map_err(at(step.line))?;
            }
            stages.push(stage);
        }
        let mut stage = stages.pop().unwrap_or_default();
        let labels = self.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
        stage.config.config.labels.extend(labels);
        let diff_ids: Vec<String> = stage.layers.iter().map(|l| l.diff_id.clone()).collect();
        image(shop, stage.config, &diff_ids)
    }

    /// Variables before the first FROM, and the stages.
    fn parts(&self, escape: char) -> Result<(BTreeMap<String, String>, Vec<Part<'a>>)> {
        let mut globals = platform();
        let mut parts: Vec<Part<'a>> = Vec::new();
        let instructions: &'a [Instruction] = self.instructions;
        let heads = instructions.iter().enumerate();
        for (index, step) in heads {
            match (&step.kind, parts.is_empty()) {
                (Kind::From(from), _) => {
                    let rest = &instructions[index + 1..];
                    let end = rest
                        .iter()
                        .position(|next| matches!(next.kind, Kind::From(_)));
                    parts.push(Part {
                        from,
                        head: step,
                        steps: &rest[..end.unwrap_or(rest.len())],
                    });
                }
                (Kind::Arg(args), true) => {
                    for (name, default) in args {
                        let known = |n: &str| globals.get(n).cloned();
                        let default = default.as_deref().map(|d| words::expand(d, escape, &known));
                        let default = default.transpose();
                        let default = default.map_err(|why| at(step.line)(Error::Refused(why)))?;
                        if let Some(value) = self.args.get(name).cloned().or(default) {
                            globals.insert(name.clone(), value);
                        }
                    }
                }
                (_, true) => {
                    let why = "before the first FROM there is ARG only".to_owned();
                    return Err(at(step.line)(Error::Refused(why)));
                }
                (_, false) => {}
            }
        }
        match parts.is_empty() {
            true => Err(Error::Refused(
                "build: the Dockerfile has no FROM".to_owned(),
            )),
            false => Ok((globals, parts)),
        }
    }

    fn last(&self, parts: &[Part<'_>]) -> Result<usize> {
        let Some(target) = self.target else {
            return Ok(parts.len() - 1);
        };
        let names = parts.iter().map(|part| part.from.name.as_deref());
        named_or_numbered(names, target).ok_or_else(|| Error::Value {
            flag: "--target",
            value: target.to_owned(),
            why: "no stage has this name".to_owned(),
        })
    }

    /// A stage at its FROM.
    fn begin(
        &self,
        shop: &Workshop<'_>,
        part: &Part<'_>,
        globals: &BTreeMap<String, String>,
        stages: &[Stage],
    ) -> Result<Stage> {
        let known = |name: &str| globals.get(name).cloned();
        let image = words::expand(&part.from.image, shop.escape, &known);
        let image = image.map_err(Error::Refused)?;
        if let Some(platform) = &part.from.platform {
            let platform = words::expand(platform, shop.escape, &known).map_err(Error::Refused)?;
            let own = format!("linux/{}", architecture());
            if platform != own && !platform.is_empty() {
                let why = format!("--platform={platform}: this machine builds for {own} only");
                return Err(Error::Refused(why));
            }
        }
        let mut stage = empty(part.from);
        stage.from.clone_from(&image);
        let names = stages.iter().map(|stage| stage.name.as_deref());
        if let Some(index) = named(names, &image) {
            let other = &stages[index];
            stage.config = other.config.clone();
            for layer in &other.layers {
                let held = shop.store.layer(&layer.diff_id)?;
                stage.layers.extend(held);
            }
            return Ok(stage);
        }
        if image == "scratch" {
            stage.config = OciConfig::new();
            return Ok(stage);
        }
        let found = (shop.provide)(&image)?;
        if found.id.is_none() {
            let why = format!(
                "FROM {image}: want a stored image; runner import makes one of a directory"
            );
            return Err(Error::Refused(why));
        }
        (stage.config, stage.layers) = (found.config, found.layers);
        Ok(stage)
    }

    /// One instruction; ARG is the build's own.
    fn one(
        &self,
        shop: &mut Workshop<'_>,
        stage: &mut Stage,
        stages: &[Stage],
        globals: &BTreeMap<String, String>,
        step: &Instruction,
    ) -> Result<()> {
        let Kind::Arg(args) = &step.kind else {
            return shop.step(stage, stages, step);
        };
        for (name, default) in args {
            let variables = stage.variables();
            let known = |wanted: &str| variables.get(wanted).cloned();
            let default = default
                .as_deref()
                .map(|d| words::expand(d, shop.escape, &known));
            let default = default.transpose().map_err(Error::Refused)?;
            let given = self.args.get(name).cloned();
            if let Some(value) = given.or(default).or_else(|| globals.get(name).cloned()) {
                stage.args.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    /// Variables that were given and that nothing asks for.
    pub fn unused(&self) -> Vec<String> {
        let asked: BTreeSet<&String> = self
            .instructions
            .iter()
            .filter_map(|step| match &step.kind {
                Kind::Arg(args) => Some(args.iter().map(|(name, _)| name)),
                _ => None,
            })
            .flatten()
            .collect();
        let given = self.args.keys();
        given
            .filter(|name| !asked.contains(name) && !PREDEFINED.contains(&name.as_str()))
            .cloned()
            .collect()
    }
}

/// The image of a configuration: one of before, if it says the same but for its times.
fn image(shop: &mut Workshop<'_>, config: OciConfig, diff_ids: &[String]) -> Result<ImageId> {
    let mut timeless = config.clone();
    timeless.created = None;
    timeless
        .history
        .iter_mut()
        .for_each(|step| step.created = None);
    let text = serde_json::to_string(&timeless);
    let text = text.map_err(|error| Error::Refused(error.to_string()))?;
    let parts = ["IMAGE", &text]
        .into_iter()
        .chain(diff_ids.iter().map(String::as_str));
    let key = key(&parts.collect::<Vec<_>>());
    if let Some(id) = shop.cache.find_image(&key) {
        return Ok(id);
    }
    shop.store.merge(diff_ids, LOOSE)?;
    let id = shop.store.create_image(config, diff_ids)?;
    let kept = shop.cache.keep_image(key, id.clone());
    kept.map_err(Error::Refused)?;
    Ok(id)
}

fn empty(from: &From) -> Stage {
    Stage {
        name: from.name.clone(),
        ..Stage::default()
    }
}

/// What is known of this machine without ARG in FROM lines, and with ARG elsewhere.
fn platform() -> BTreeMap<String, String> {
    let own = format!("linux/{}", architecture());
    let pairs = [
        ("TARGETPLATFORM", own.as_str()),
        ("TARGETOS", "linux"),
        ("TARGETARCH", architecture()),
        ("BUILDPLATFORM", own.as_str()),
        ("BUILDOS", "linux"),
        ("BUILDARCH", architecture()),
    ];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// The stages and images that an instruction reads.
fn others(step: &Instruction) -> Vec<String> {
    let (flags, from_mount) = match &step.kind {
        Kind::Copy(copy) => (&copy.flags, false),
        Kind::Run(run) => (&run.flags, true),
        _ => return Vec::new(),
    };
    let names = flags
        .iter()
        .filter_map(|(flag, value)| match flag.as_str() {
            "from" => Some(value.as_str()),
            "mount" if from_mount => field(value, "from"),
            _ => None,
        });
    names.map(str::to_owned).collect()
}

/// The stages that one needs, itself included.
fn needed(
    parts: &[Part<'_>],
    last: usize,
    globals: &BTreeMap<String, String>,
    escape: char,
) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut todo = vec![last];
    while let Some(index) = todo.pop() {
        if !needed.insert(index) {
            continue;
        }
        let part = &parts[index];
        let known = |name: &str| globals.get(name).cloned();
        let image = words::expand(&part.from.image, escape, &known).unwrap_or_default();
        let names = part.steps.iter().flat_map(others);
        for name in names.chain([image]) {
            let before = parts[..index].iter();
            let names = before.map(|part| part.from.name.as_deref());
            todo.extend(named_or_numbered(names, &name));
        }
    }
    needed
}
