//! Programs that are timed: watched by the guard, in an environment that is the same everywhere.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::{Context, Error, Result};
use super::guard::Guard;

/// Runs a command to its end; gives how long that took and what it printed. `log` gets what it says as an error.
pub(super) fn run(guard: &Guard, log: &Path, mut command: Command) -> Result<(Duration, Vec<u8>)> {
    guard.check()?;
    let said = File::create(log).on(log.display())?;
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(said)
        .process_group(0)
        .spawn()
        .on(&name)?;
    let watched = guard.watch(&child);
    let mut printed = Vec::new();
    let read = child
        .stdout
        .take()
        .map(|mut out| out.read_to_end(&mut printed));
    watched.wait_end();
    let took = started.elapsed();
    drop(watched);
    let status = child.wait().on("wait")?;
    read.transpose().on(&name)?;
    if status.success() {
        return Ok((took, printed));
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    Err(Error::Program {
        command: format!("{command:?}").chars().take(200).collect(),
        status,
        said: said.lines().next().unwrap_or_default().to_owned(),
    })
}

/// Nothing on standard input, and an environment that is the same everywhere.
pub(super) fn clean(command: &mut Command) {
    command.stdin(Stdio::null()).env_clear();
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
        .env("LC_ALL", "C")
        .env("HOME", "/root")
        .env("DEBIAN_FRONTEND", "noninteractive");
}
