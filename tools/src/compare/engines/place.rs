//! Where engines work: a network namespace, a root directory of a few programs, a registry.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::engine::{Engine, Kind};
use crate::compare::bench::Common;
use crate::compare::error::{Context, Error, Result};
use crate::compare::guard::Watched;
use crate::compare::options::Section;
use crate::compare::program;
use crate::docker::{self, Daemon};
use crate::programs;

/// The registry's address in our own network namespace, where nobody else has the port.
pub(super) const REGISTRY: &str = "127.0.0.1:5000";

/// Programs of the machine that the image has, with what they are linked to.
const PROGRAMS: [&str; 4] = ["true", "sleep", "sh", "touch"];

/// A process that is killed when dropped.
struct Serving(Child, Option<Watched>);

impl Drop for Serving {
    fn drop(&mut self) {
        // Off the guard's list before it is reaped.
        self.1 = None;
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All of it; the engines end first.
pub(super) struct Place {
    pub(super) engines: Vec<Engine>,
    _registry: Option<Serving>,
}

impl Place {
    /// Makes what a section needs.
    pub(super) fn make(
        section: Section,
        common: Common<'_>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut engines = Vec::new();
        let mut registry = None;
        if section == Section::Packing {
            let program = programs::release("layerfs").on("building layerfs")?;
            engines.push(Engine {
                key: "layerfs",
                kind: Kind::Layerfs(program),
            });
            engines.push(Engine {
                key: "inflate",
                kind: Kind::Plain,
            });
            engines.push(Engine {
                key: "tar",
                kind: Kind::Plain,
            });
            engines.retain(|engine| wanted(engine.key));
        } else {
            let program = programs::release("runner").on("building runner")?;
            if ["docker", "runc", "bwrap"].into_iter().any(wanted) {
                // Downloads it if need be, which needs the machine's network.
                docker::provide().on("docker's programs")?;
            }
            unshare(CloneFlags::CLONE_NEWNET).on("a network namespace")?;
            call(common, Command::new("ip").args(["link", "set", "lo", "up"]))?;
            let tar = root(common)?;
            if section == Section::Images {
                registry = Some(serve(common)?);
            }
            if wanted("runner") {
                let kind = Kind::Runner(program, common.scratch.join("runner"));
                engines.push(Engine {
                    key: "runner",
                    kind,
                });
            }
            if wanted("docker") {
                let daemon =
                    Daemon::start_with_bridge(&common.scratch.join("docker")).on("dockerd")?;
                engines.push(Engine {
                    key: "docker",
                    kind: Kind::Docker(daemon),
                });
            }
            for engine in &engines {
                engine.call(common, &["import", &tar.to_string_lossy(), "small"])?;
            }
            if wanted("runc") || wanted("bwrap") {
                engines.extend(starters(common)?);
                engines.retain(|engine| wanted(engine.key));
            }
        }
        Ok(Self {
            engines,
            _registry: registry,
        })
    }
}

fn call(common: Common<'_>, command: &mut Command) -> Result<()> {
    let owned = std::mem::replace(command, Command::new("true"));
    program::run(common.guard, &common.scratch.join("said"), owned).map(drop)
}

/// A root directory of a few programs in `root`, and its archive.
pub(super) fn root(common: Common<'_>) -> Result<PathBuf> {
    let (root, tar) = (common.scratch.join("root"), common.scratch.join("root.tar"));
    for directory in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
        let path = root.join(directory);
        fs::create_dir_all(&path).on(path.display())?;
    }
    for program in PROGRAMS {
        let from = Path::new("/usr/bin").join(program);
        fs::copy(&from, root.join("bin").join(program)).on(from.display())?;
        let output = Command::new("ldd").arg(&from).output().on("ldd")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = root.join(library.trim_start_matches('/'));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).on(parent.display())?;
            }
            fs::copy(library, &to).on(library)?;
        }
    }
    archive(common, &root, &tar)?;
    Ok(tar)
}

/// The archive of a tree.
pub(super) fn archive(common: Common<'_>, tree: &Path, tar: &Path) -> Result<()> {
    call(
        common,
        Command::new("tar")
            .arg("-cf")
            .arg(tar)
            .arg("-C")
            .arg(tree)
            .arg("."),
    )
}

/// runc and bubblewrap, over the same plain directory.
fn starters(common: Common<'_>) -> Result<Vec<Engine>> {
    let programs = docker::provide().on("docker's programs")?;
    let (bundle, root) = (common.scratch.join("bundle"), common.scratch.join("root"));
    fs::create_dir_all(&bundle).on(bundle.display())?;
    let mut spec = programs.command("runc");
    call(common, spec.arg("spec").arg("--bundle").arg(&bundle))?;
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path).on(path.display())?;
    let mut config: serde_json::Value = serde_json::from_str(&text).on(path.display())?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = vec!["true"].into();
    config["root"]["path"] = root.to_string_lossy().into_owned().into();
    fs::write(&path, config.to_string()).on(path.display())?;
    Ok(vec![
        Engine {
            key: "runc",
            kind: Kind::Runc(programs.clone(), bundle),
        },
        Engine {
            key: "bwrap",
            kind: Kind::Bubblewrap(programs, root),
        },
    ])
}

/// Debian's registry at [`REGISTRY`].
fn serve(common: Common<'_>) -> Result<Serving> {
    let (config, log) = (
        common.scratch.join("registry.yml"),
        common.scratch.join("registry.log"),
    );
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {REGISTRY}\n",
        common.scratch.join("registry").display()
    );
    fs::write(&config, text).on(config.display())?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "docker-registry", "serve"])
        .arg(&config);
    let said = File::create(&log).on(log.display())?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .process_group(0);
    let child = command.spawn().on("docker-registry")?;
    let watched = common.guard.watch(&child);
    let serving = Serving(child, Some(watched));
    let end = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(REGISTRY).is_err() {
        if Instant::now() > end {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(Error::Wrong(format!(
                "docker-registry does not listen: {said}"
            )));
        }
        common.guard.check()?;
        sleep(Duration::from_millis(20));
    }
    Ok(serving)
}
