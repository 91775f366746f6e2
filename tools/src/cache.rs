//! What is made once for all test runs of a machine, and kept outside the tree.
//!
//! ```text
//!   $XDG_CACHE_HOME/layerfs-testroot, or /var/cache/layerfs-testroot
//!     NAME/            whole: made in NAME.building and renamed
//!     lock             held while something is made
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Gives a thing, made by `build` in an empty directory if this machine has none yet.
///
/// # Errors
/// Those of `build`, after which there is none.
pub fn provide(name: &str, build: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    let cache = place();
    fs::create_dir_all(&cache)?;
    let done = cache.join(name);
    if done.is_dir() {
        return Ok(done);
    }
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock()?;
    if !done.is_dir() {
        let building = cache.join(format!("{name}.building"));
        if building.exists() {
            run(Command::new("rm")
                .arg("-rf")
                .arg("--one-file-system")
                .arg(&building))?;
        }
        fs::create_dir(&building)?;
        build(&building)?;
        fs::rename(&building, &done)?;
    }
    Ok(done)
}

fn place() -> PathBuf {
    match std::env::var_os("XDG_CACHE_HOME") {
        Some(home) if Path::new(&home).is_absolute() => {
            PathBuf::from(home).join("layerfs-testroot")
        }
        _ => PathBuf::from("/var/cache/layerfs-testroot"),
    }
}

/// Runs a command that must succeed; what it says as an error goes to standard error.
///
/// # Errors
/// It cannot be run, or fails.
pub fn run(command: &mut Command) -> io::Result<()> {
    eprintln!("== {command:?}");
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{name} failed: {status}"))),
    }
}
