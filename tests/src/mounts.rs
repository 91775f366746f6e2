//! Mounts of three kinds with one face: layerfs, the kernel's overlayfs, fuse-overlayfs.
//!
//! The peers check the harness itself and serve as oracles where they keep POSIX. With
//! `LAYERFS_STAND_IN=overlay` (or `fuse-overlayfs`) in the environment [`Union::layerfs`] mounts
//! the peer instead: to see whether a failing test is wrong, or how a peer does.
//! `LAYERFS_TRANSPORT=device` (or `rings`) says how layerfs shall serve; without it, as it chooses.

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::process::{self, Output, wait_until};
use crate::programs;

/// Options with which the kernel's overlayfs comes nearest to POSIX.
pub const STAND_IN_OVERLAY: &str = "index=on,redirect_dir=on,xino=on,metacopy=on";

/// What to mount.
#[derive(Debug, Clone, Default)]
pub struct Union {
    /// Read-only layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Upper and work.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Where.
    pub point: PathBuf,
    /// `-o` options.
    pub options: Vec<String>,
    /// Other flags of `layerfs mount`.
    pub flags: Vec<String>,
}

impl Union {
    /// A read-only union of `lowers`, topmost first.
    pub fn of<P: AsRef<Path>>(lowers: &[P], point: impl Into<PathBuf>) -> Self {
        Self {
            lowers: lowers.iter().map(|p| p.as_ref().to_owned()).collect(),
            point: point.into(),
            ..Self::default()
        }
    }

    /// Makes it writable.
    pub fn upper(mut self, upper: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        self.upper = Some((upper.into(), work.into()));
        self
    }

    /// Adds a `-o` option.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Adds another flag.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// The `layerfs mount` command for it.
    pub fn layerfs_command(&self) -> Command {
        let mut command = Command::new(programs::layerfs());
        command.arg("mount");
        for lower in &self.lowers {
            command.arg("--lower").arg(lower);
        }
        if let Some((upper, work)) = &self.upper {
            command.arg("--upper").arg(upper).arg("--work").arg(work);
        }
        if !self.options.is_empty() {
            command.arg("-o").arg(self.options.join(","));
        }
        let said = self.flags.iter().any(|f| f.starts_with("--transport"));
        if let Some(transport) = transport().filter(|_| !said) {
            command.arg("--transport").arg(transport);
        }
        let said = self.flags.iter().any(|f| f.starts_with("--io"))
            || self.options.iter().any(|o| o.starts_with("io="));
        if let Some(io) = io().filter(|_| !said) {
            command.arg("--io").arg(io);
        }
        command.args(&self.flags).arg(&self.point);
        command
    }

    /// Calls `layerfs mount`, whatever comes of it.
    pub fn try_layerfs(&self) -> Output {
        process::run(&mut self.layerfs_command())
    }

    /// Mounts it with layerfs.
    #[track_caller]
    pub fn layerfs(&self) -> Mount {
        match std::env::var("LAYERFS_STAND_IN").as_deref() {
            Ok("overlay") => {
                let own = if self.upper.is_some() {
                    STAND_IN_OVERLAY
                } else {
                    ""
                };
                return self.overlay(own);
            }
            Ok("fuse-overlayfs") => return self.fuse_overlayfs(),
            Ok(other) => panic!("LAYERFS_STAND_IN={other}: overlay or fuse-overlayfs"),
            Err(_) => {}
        }
        let output = self.try_layerfs();
        assert_eq!(output.code, 0, "{output}");
        assert!(
            is_mounted(&self.point),
            "layerfs said 0 but nothing is mounted"
        );
        Mount {
            point: self.point.clone(),
            kind: Kind::Layerfs,
            live: true,
        }
    }

    /// `lowerdir=...,upperdir=...` with paths escaped as overlay reads them.
    pub fn overlay_data(&self) -> OsString {
        let mut data = b"lowerdir=".to_vec();
        for (i, lower) in self.lowers.iter().enumerate() {
            if i > 0 {
                data.push(b':');
            }
            data.extend(escape(lower.as_os_str().as_bytes()));
        }
        if let Some((upper, work)) = &self.upper {
            data.extend(b",upperdir=");
            data.extend(escape(upper.as_os_str().as_bytes()));
            data.extend(b",workdir=");
            data.extend(escape(work.as_os_str().as_bytes()));
        }
        for option in &self.options {
            data.push(b',');
            data.extend(option.as_bytes());
        }
        OsString::from_vec(data)
    }

    /// Mounts it with the kernel's overlayfs; `options` are added to its own.
    #[track_caller]
    pub fn overlay(&self, options: &str) -> Mount {
        let mut union = self.clone();
        union.options = options
            .split(',')
            .filter(|o| !o.is_empty())
            .map(str::to_owned)
            .collect();
        // The kernel wants two layers at least.
        let empty = union.point.with_extension("empty-lower");
        if union.upper.is_none() && union.lowers.len() == 1 {
            std::fs::create_dir_all(&empty).unwrap();
            union.lowers.push(empty);
        }
        let data = CString::new(union.overlay_data().into_vec()).unwrap();
        mount(
            "overlay",
            &self.point,
            "overlay",
            MountFlags::empty(),
            &*data,
        )
        .unwrap_or_else(|e| panic!("overlay {data:?}: {e}"));
        Mount {
            point: self.point.clone(),
            kind: Kind::Overlay,
            live: true,
        }
    }

    /// Mounts it with fuse-overlayfs.
    #[track_caller]
    pub fn fuse_overlayfs(&self) -> Mount {
        let mut command = Command::new("fuse-overlayfs");
        command.arg("-o").arg(self.overlay_data()).arg(&self.point);
        process::run(&mut command).ok();
        Mount {
            point: self.point.clone(),
            kind: Kind::FuseOverlayfs,
            live: true,
        }
    }
}

/// How layerfs shall serve, if the environment says.
fn transport() -> Option<String> {
    std::env::var("LAYERFS_TRANSPORT").ok()
}

/// How data shall go, if the environment says.
fn io() -> Option<String> {
    std::env::var("LAYERFS_IO").ok()
}

/// Escapes `\`, `:` and `,` with a backslash, as overlay's option parser reads them.
pub fn escape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        if matches!(byte, b'\\' | b':' | b',') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Layerfs,
    Overlay,
    FuseOverlayfs,
}

/// A live mount; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    kind: Kind,
    live: bool,
}

impl Mount {
    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// Takes over a mount of layerfs that a test made by its own command.
    pub fn adopt(point: impl Into<PathBuf>) -> Self {
        Self {
            point: point.into(),
            kind: Kind::Layerfs,
            live: true,
        }
    }

    /// Process ids of the daemon that serves it.
    pub fn daemons(&self) -> Vec<i32> {
        tools::leaks::processes_naming(&self.point.display().to_string())
            .into_iter()
            .filter(|(_, line)| {
                line.split(' ')
                    .next()
                    .is_some_and(|name| name.contains("layerfs"))
            })
            .map(|(pid, _)| pid)
            .collect()
    }

    /// Kills the daemon with SIGKILL and waits until it is gone; the dead mount stays.
    pub fn kill_daemon(&self) {
        let pids = self.daemons();
        assert!(
            !pids.is_empty(),
            "no daemon serves {}",
            self.point.display()
        );
        let fds = pidfds(&pids);
        for fd in &fds {
            let _ = rustix::process::pidfd_send_signal(fd, rustix::process::Signal::KILL);
        }
        assert!(wait_until(Duration::from_secs(120), || all_gone(&fds)));
    }

    /// Unmounts by the kind's own command and checks that it worked.
    #[track_caller]
    pub fn unmount(mut self) {
        self.live = false;
        match self.kind {
            Kind::Layerfs => {
                let fds = pidfds(&self.daemons());
                let mut output = self.call_unmount();
                // Another test's process, between fork and exec, may hold a descriptor of ours.
                wait_until(Duration::from_secs(120), || {
                    let err = output.err();
                    let busy = output.code != 0 && (err.contains("busy") || err.contains("in use"));
                    if busy {
                        output = self.call_unmount();
                    }
                    !busy
                });
                assert_eq!(output.code, 0, "{output}");
                assert!(
                    !is_mounted(&self.point),
                    "still mounted after `layerfs unmount`"
                );
                let gone = wait_until(Duration::from_secs(120), || all_gone(&fds));
                assert!(
                    gone && self.daemons().is_empty(),
                    "the daemon lives on after the unmount: {:?}",
                    self.daemons()
                );
            }
            Kind::Overlay | Kind::FuseOverlayfs => {
                let mut last = Ok(());
                wait_until(Duration::from_secs(120), || {
                    last = unmount(&self.point, UnmountFlags::empty());
                    last != Err(rustix::io::Errno::BUSY)
                });
                last.unwrap();
            }
        }
    }

    fn call_unmount(&self) -> Output {
        process::run(
            Command::new(programs::layerfs())
                .arg("unmount")
                .arg(&self.point),
        )
    }
}

/// Processes, those that are gone already left out.
fn pidfds(pids: &[i32]) -> Vec<OwnedFd> {
    let flags = rustix::process::PidfdFlags::empty();
    let pids = pids
        .iter()
        .filter_map(|pid| rustix::process::Pid::from_raw(*pid));
    pids.filter_map(|pid| rustix::process::pidfd_open(pid, flags).ok())
        .collect()
}

/// Whether all have ended, with all that they had open: a process loses its command line before its
/// files and their locks.
fn all_gone(fds: &[OwnedFd]) -> bool {
    let now = rustix::event::Timespec::default();
    fds.iter().all(|fd| {
        let mut one = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
        matches!(rustix::event::poll(&mut one, Some(&now)), Ok(1))
    })
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.live {
            let _ = unmount(&self.point, UnmountFlags::DETACH);
            if self.kind == Kind::Layerfs && !std::thread::panicking() {
                wait_until(Duration::from_secs(120), || self.daemons().is_empty());
            }
        }
    }
}

/// Whether something is mounted exactly there.
pub fn is_mounted(point: &Path) -> bool {
    mounts_below(point).iter().any(|m| m == point)
}

/// Mount points at or below `path`, in the order they were made.
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    tools::leaks::mount_table()
        .into_iter()
        .map(|m| m.point)
        .filter(|p| p.starts_with(path))
        .collect()
}

/// The line of /proc/self/mountinfo for a mount point.
pub fn mount_line(point: &Path) -> String {
    tools::leaks::mount_table()
        .into_iter()
        .rfind(|m| m.point == point)
        .unwrap_or_else(|| panic!("{} is not mounted", point.display()))
        .line
}
