//! A program that takes part. runner and docker take the same words; the others start one command.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::compare::bench::Common;
use crate::compare::contender::Io;
use crate::compare::error::{Error, Result};
use crate::compare::program;
use crate::compare::samples::Entrant;
use crate::docker::{Daemon, Programs};

pub(super) enum Kind {
    /// Its program and its root.
    Runner(PathBuf, PathBuf),
    Docker(Daemon),
    /// Over a bundle.
    Runc(Programs, PathBuf),
    /// Over a root directory.
    Bubblewrap(Programs, PathBuf),
    /// Ours, of packed layers.
    Layerfs(PathBuf),
    /// Nothing to be called.
    Plain,
}

pub(super) struct Engine {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
}

impl Engine {
    /// For the record.
    pub(super) fn entrant(&self) -> Entrant {
        let (how, ours) = match &self.kind {
            Kind::Runner(..) => ("runner --root ROOT", true),
            Kind::Docker(_) => (
                "dockerd, overlay2, own data root and network namespace",
                false,
            ),
            Kind::Runc(..) => ("runc run, bundle of a plain directory", false),
            Kind::Bubblewrap(..) => ("bwrap --unshare-all --ro-bind ROOT /", false),
            Kind::Layerfs(_) => ("layerfs pack LAYER -o OUT", true),
            Kind::Plain if self.key == "tar" => ("tar xzf LAYER, sync", false),
            Kind::Plain => ("flate2 with zlib-rs, to nowhere", false),
        };
        Entrant {
            key: self.key.to_owned(),
            title: self.key.to_owned(),
            version: self.version(),
            how: how.to_owned(),
            ours: ours.then_some(Io::Cached),
        }
    }

    fn version(&self) -> String {
        let mut command = match &self.kind {
            Kind::Runner(program, _) | Kind::Layerfs(program) => Command::new(program),
            Kind::Docker(daemon) => daemon.command(),
            Kind::Runc(programs, _) => programs.command("runc"),
            Kind::Bubblewrap(programs, _) => programs.command("bwrap"),
            Kind::Plain => return String::new(),
        };
        let output = command.arg("--version").output();
        let said = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        said.unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// The command for some words; for those that only start, any words start `true`.
    pub(super) fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Runner(program, root) => {
                let mut command = Command::new(program);
                command.arg("--root").arg(root);
                command
            }
            Kind::Docker(daemon) => {
                let mut command = daemon.command();
                command.env("DOCKER_BUILDKIT", "0");
                command
            }
            Kind::Runc(programs, bundle) => {
                let mut command = programs.command("runc");
                command.arg("--root").arg(bundle.join("state"));
                command.args(["run", "--bundle"]).arg(bundle).arg("compare");
                return Ok(command);
            }
            Kind::Bubblewrap(programs, root) => {
                let mut command = programs.command("bwrap");
                command.arg("--ro-bind").arg(root).arg("/");
                command.args(["--proc", "/proc", "--dev", "/dev", "--unshare-all", "true"]);
                return Ok(command);
            }
            Kind::Layerfs(program) => Command::new(program),
            Kind::Plain => return Err(Error::Wrong("nothing to call".to_owned())),
        };
        command.args(words).env("HOME", "/root");
        Ok(command)
    }

    /// Calls it; gives the seconds, and what it printed without the last line's end.
    pub(super) fn call(&self, common: Common<'_>, words: &[&str]) -> Result<(f64, String)> {
        let log = common.scratch.join("said");
        let (took, printed) = program::run(common.guard, &log, self.command(words)?)?;
        let printed = String::from_utf8_lossy(&printed).trim_end().to_owned();
        Ok((took.as_secs_f64(), printed))
    }

    /// Removes all containers, whatever went before.
    pub(super) fn clear(&self, common: Common<'_>) {
        if !matches!(self.kind, Kind::Runner(..) | Kind::Docker(_)) {
            return;
        }
        let gone = self.call(common, &["ps", "-aq"]).and_then(|(_, ids)| {
            let ids: Vec<_> = ids.split_whitespace().collect();
            let all = [&["rm", "-f", "-v"], &ids[..]].concat();
            if ids.is_empty() {
                Ok(())
            } else {
                self.call(common, &all).map(drop)
            }
        });
        if let Err(error) = gone {
            eprintln!("compare: containers of {} stay: {error}", self.key);
        }
    }

    /// MiB of private memory in what serves its containers; not the daemons that serve all.
    pub(super) fn private(&self) -> f64 {
        let name = match &self.kind {
            Kind::Runner(program, _) => program.to_string_lossy().into_owned(),
            _ => "containerd-shim".to_owned(),
        };
        let mut sum = 0;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let path = entry.path();
            let is = |exe: PathBuf| exe.to_string_lossy().contains(&name);
            if fs::read_link(path.join("exe")).is_ok_and(is) {
                let text = fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
                let private = text.lines().filter(|line| line.starts_with("Private_"));
                let kib =
                    private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
                sum += kib.sum::<u64>();
            }
        }
        sum as f64 / 1024.0
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers hold mounts that would keep the scratch directory.
        if let Kind::Runner(..) = self.kind {
            let ids = self.command(&["ps", "-aq"]).and_then(|mut c| {
                c.output().map_err(|source| Error::Io {
                    what: "ps".to_owned(),
                    source,
                })
            });
            let text = ids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            for id in text.unwrap_or_default().split_whitespace() {
                if let Ok(mut command) = self.command(&["rm", "-f", "-v", id]) {
                    // Told by the scratch directory if it stays.
                    let _ = command.output();
                }
            }
        }
    }
}
