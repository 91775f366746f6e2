//! A disk that can lose its power: a file system on a loop device.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use tests::process::{call, wait_until};
use tests::scratch::Scratch;
use tests::sys::{Cut, cut_off};

/// Its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Whether this kernel has it; says so if not.
    pub(crate) fn is_there(self) -> bool {
        let known = || {
            let all = fs::read_to_string("/proc/filesystems").unwrap();
            all.split_whitespace().any(|name| name == self.name())
        };
        if !known() {
            call("modprobe", &[self.name()]);
        }
        let there = known();
        if !there {
            eprintln!("NOT RUN: the kernel has no {}", self.name());
        }
        there
    }
}

/// See the module. Dropped, it is unmounted and its loop device is free again.
#[derive(Debug)]
pub(crate) struct Disk {
    kind: Kind,
    device: String,
    point: PathBuf,
}

impl Disk {
    /// A new one, whose image and mount point lie in `scratch`.
    pub(crate) fn new(scratch: &Scratch, kind: Kind) -> Self {
        alone();
        let image = scratch.join("image");
        // The least that mkfs.xfs takes.
        File::create(&image).unwrap().set_len(300 << 20).unwrap();
        let text = image.to_str().unwrap();
        match kind {
            Kind::Ext4 => call("mkfs.ext4", &["-q", "-F", text]).ok(),
            Kind::Xfs => call("mkfs.xfs", &["-q", "-f", text]).ok(),
        };
        let device = call("losetup", &["--find", "--show", text]).ok();
        let disk = Self {
            kind,
            device: device.trim().to_owned(),
            point: scratch.dir("disk"),
        };
        disk.mount();
        disk
    }

    /// Its root.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Writes everything, as sync(2) does to this file system among all.
    pub(crate) fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.point).unwrap()).unwrap();
    }

    /// The power goes: from now on nothing reaches the disk.
    pub(crate) fn cut(&self, cut: Cut) {
        cut_off(File::open(&self.point).unwrap().as_fd(), cut).unwrap();
    }

    /// The power is back, and nobody has anything open here: mounts it again.
    pub(crate) fn again(&self) {
        // A process that was killed closes its files a moment later.
        let mut last = Ok(());
        wait_until(Duration::from_secs(60), || {
            last = unmount(&self.point, UnmountFlags::empty());
            last != Err(Errno::BUSY)
        });
        last.unwrap();
        self.mount();
    }

    fn mount(&self) {
        let (device, kind) = (self.device.as_str(), self.kind.name());
        mount(device, &self.point, kind, MountFlags::empty(), None)
            .unwrap_or_else(|error| panic!("{kind} on {device}: {error}"));
    }
}

/// Gives this thread, and what it starts, mounts of its own: a mount namespace that another test makes
/// meanwhile (of a container, say) would hold ours too, and the file system that was cut off would be
/// there still when the device is mounted again.
fn alone() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).unwrap();
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.point, UnmountFlags::DETACH);
        let done = call("losetup", &["--detach", &self.device]);
        if done.code != 0 {
            eprintln!("{done}");
        }
    }
}
