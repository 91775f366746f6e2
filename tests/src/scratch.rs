//! A directory of one test on the real disk: `/var/tmp/layerfs-tests-PID-N`.
//!
//! Dropping it, also in a panic, detaches every mount below it, ends the layerfs processes that
//! served them, and removes it. A test that ends well must have left no mount: that is checked
//! by [`Scratch::finish`], which `drop` calls unless the test is panicking.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};

use crate::mounts::mounts_below;
use crate::process::wait_until;

/// Where the scratch directories lie; `tools::leaks` looks for this prefix.
pub const PREFIX: &str = tools::leaks::SCRATCH_PREFIX;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory of one test, gone with everything mounted below it when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests mount: run them as root"
        );
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = PathBuf::from(format!("{PREFIX}{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Self { path },
                // Left by a process that had the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` inside, nothing made.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory `name` inside (and its parents).
    pub fn dir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Mounts a tmpfs of `size` (`size=` syntax) on the new directory `name`.
    pub fn tmpfs(&self, name: &str, size: &str) -> PathBuf {
        let path = self.dir(name);
        let data = std::ffi::CString::new(format!("size={size},mode=755")).unwrap();
        rustix::mount::mount(
            "scratch",
            &path,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            &*data,
        )
        .unwrap();
        path
    }

    /// Whether processes whose command line names this directory are left.
    pub fn processes(&self) -> Vec<(i32, String)> {
        tools::leaks::processes_naming(&format!("{}/", self.path.display()))
    }

    fn detach(&self) -> Vec<PathBuf> {
        let left = mounts_below(&self.path);
        for mount in left.iter().rev() {
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
        left
    }

    /// Checks that no layerfs mount, process or bridge is left of it (tmpfs mounts are the test's
    /// own), then removes everything, and that this could be done.
    fn finish(&self) {
        let left: Vec<_> = tools::leaks::fuse_mounts_below(&self.path);
        let quiet = wait_until(Duration::from_secs(120), || self.processes().is_empty());
        let processes = self.processes();
        let bridges = tools::leaks::bridges_of(&self.path);
        let removed = self.clear();
        assert!(bridges.is_empty(), "bridges left behind: {bridges:?}");
        removed.unwrap_or_else(|why| panic!("not removed: {why}"));
        assert!(left.is_empty(), "mounts left behind: {left:?}");
        assert!(quiet, "processes left behind: {processes:?}");
    }

    fn clear(&self) -> Result<(), String> {
        self.detach();
        if !wait_until(Duration::from_secs(3), || self.processes().is_empty()) {
            for (pid, _) in self.processes() {
                // Only processes that were started with a path of this very directory.
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        for bridge in tools::leaks::bridges_of(&self.path) {
            crate::process::call("ip", &["link", "delete", &bridge]);
        }
        let mut why = String::new();
        let removed = wait_until(Duration::from_secs(5), || match remove(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                why = format!("{error}: {:?}", tools::leaks::paths_below(&self.path, 20));
                false
            }
            _ => true,
        });
        removed.then_some(()).ok_or(why)
    }
}

/// Removes a tree; takes away immutable and append-only flags that a broken test left.
fn remove(path: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(path).or_else(|_| {
        let _ = std::process::Command::new("chattr")
            .args(["-R", "-i", "-a"])
            .arg(path)
            .output();
        fs::remove_dir_all(path)
    })
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Err(why) = self.clear() {
                eprintln!("scratch {} not removed: {why}", self.path.display());
            }
        } else {
            self.finish();
        }
    }
}
