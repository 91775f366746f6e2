//! The directory of one comparison: `DIR/layerfs-compare-PID`, gone with every mount below it
//! when dropped.
//!
//! A killed comparison leaves its directory behind. The next one takes it away: whoever can lock
//! `layerfs-compare-PID/lock` knows that its owner is dead.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};

use super::error::{Context, Error, Result};
use crate::leaks::mount_table;

const PREFIX: &str = "layerfs-compare-";

/// A directory of ours on the disk that is measured.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Locked as long as we live.
    _lock: File,
}

impl Scratch {
    /// Sweeps what dead comparisons left in `parent`, and makes an empty directory there.
    ///
    /// # Errors
    /// Those of mkdir(2) and open(2).
    pub(super) fn new(parent: &Path) -> Result<Self> {
        sweep(parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).on(path.display())?;
        let lock = File::create(path.join("lock")).on(path.display())?;
        lock.lock().on(path.display())?;
        Ok(Self { path, _lock: lock })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` inside; nothing is made.
    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.path) {
            eprintln!("compare: left behind: {error}");
        }
    }
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let Ok(lock) = File::open(entry.path().join("lock")) else {
            continue;
        };
        if named
            && lock.try_lock().is_ok()
            && let Err(error) = clear(&entry.path())
        {
            eprintln!("compare: left behind by an earlier run: {error}");
        }
    }
}

/// Detaches every mount below, then removes what is there.
fn clear(path: &Path) -> Result<()> {
    let mounts = mount_table();
    let below = mounts.iter().rev().filter(|m| m.point.starts_with(path));
    for mount in below {
        unmount(&mount.point, UnmountFlags::DETACH).on(mount.point.display())?;
    }
    remove(path)
}

/// Removes a tree, never what is mounted in it; nothing there is no error.
///
/// # Errors
/// What `rm` says.
pub(super) fn remove(path: &Path) -> Result<()> {
    let output = Command::new("rm")
        .args(["-rf", "--one-file-system", "--"])
        .arg(path)
        .output()
        .on("rm")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        command: format!("rm -rf {}", path.display()),
        status: output.status,
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_comparison_left_is_swept_and_what_a_live_one_has_is_not() {
        let parent = std::env::temp_dir().join(format!("compare-sweep-{}", std::process::id()));
        let dead = parent.join(format!("{PREFIX}1"));
        let live = parent.join(format!("{PREFIX}2"));
        for directory in [&dead, &live] {
            fs::create_dir_all(directory.join("upper/a")).unwrap();
        }
        File::create(dead.join("lock")).unwrap();
        let lock = File::create(live.join("lock")).unwrap();
        lock.lock().unwrap();
        sweep(&parent);
        assert!(!dead.exists());
        assert!(live.join("upper/a").exists());
        remove(&parent).unwrap();
    }
}
