//! One state directory of `runner` and the calls on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Output};
use crate::programs;
use crate::scratch::Scratch;

/// A `runner` with a state directory of its own inside a scratch directory.
#[derive(Debug)]
pub struct Runner<'a> {
    state: PathBuf,
    /// Where the test may put files.
    pub scratch: &'a Scratch,
}

impl<'a> Runner<'a> {
    /// A fresh one.
    pub fn new(scratch: &'a Scratch) -> Self {
        Self { state: scratch.join("state"), scratch }
    }

    /// Its state directory (`--root`).
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// `runner VERB --root STATE`; the verb's arguments are the caller's to add.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(programs::runner());
        command.arg(verb).arg("--root").arg(&self.state);
        command
    }

    /// Calls `runner VERB --root STATE ARGS...`.
    pub fn call(&self, verb: &str, args: &[&str]) -> Output {
        process::run(self.command(verb).args(args))
    }

    /// `runner run --rm ARGS...`.
    pub fn run(&self, args: &[&str]) -> Output {
        process::run(self.command("run").arg("--rm").args(args))
    }

    /// `runner run --rm FLAGS... host sh -c SCRIPT`.
    pub fn sh(&self, flags: &[&str], script: &str) -> Output {
        let mut command = self.command("run");
        process::run(command.arg("--rm").args(flags).args(["host", "sh", "-c", script]))
    }

    /// What lies in the state directory, relative paths, without image data: what a container
    /// leaves shows here.
    pub fn containers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.state.join("containers")).into_iter().flatten() {
            found.push(entry.unwrap().file_name().to_string_lossy().into_owned());
        }
        found
    }
}
