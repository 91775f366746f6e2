//! A contender, mounted: over an empty upper, with its daemon as our child.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_bind, move_mount, unmount,
};

use super::contender::{Contender, Parts, Way, overlay_list};
use super::error::{Context, Error, Result};
use super::guard::{Guard, Watched};
use super::scratch::remove;

/// How long a daemon may take to serve, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

struct Daemon {
    child: Child,
    watched: Watched,
}

/// A live mount; unmounted when dropped.
pub(super) struct Mounted {
    point: PathBuf,
    /// Nothing is mounted on a plain copy.
    is_copy: bool,
    daemon: Option<Daemon>,
    /// Mounts inside, in the order they were made.
    inside: Vec<PathBuf>,
    /// From the call until the first answer.
    pub(super) took: Duration,
}

impl Mounted {
    /// Takes the plain copy `point` for a mount.
    pub(super) fn copy(point: &Path) -> Self {
        Self {
            point: point.to_owned(),
            is_copy: true,
            daemon: None,
            inside: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Mounts `contender` over `lowers` (topmost first) with a new upper below `place`.
    ///
    /// # Errors
    /// If the kernel or the daemon refuses, with what it says.
    pub(super) fn new(
        contender: &Contender,
        lowers: &[PathBuf],
        place: &Path,
        guard: &Guard,
    ) -> Result<Self> {
        let [upper, work, point] = ["upper", "work", "mnt"].map(|name| place.join(name));
        for directory in [&upper, &work, &point] {
            remove(directory)?;
            fs::create_dir_all(directory).on(directory.display())?;
        }
        let parts = Parts {
            lowers,
            upper: &upper,
            work: &work,
            point: &point,
        };
        let mut mounted = Self::copy(&point);
        mounted.is_copy = false;
        let started = Instant::now();
        match contender.way(parts) {
            Way::Copy => {
                return Err(Error::Wrong(
                    "a plain copy has no layers to mount".to_owned(),
                ));
            }
            Way::Kernel => overlay(parts)?,
            Way::Daemon(command) => {
                mounted.serve(&contender.title, command, &place.join("log"), guard)?;
            }
        }
        mounted.took = started.elapsed();
        Ok(mounted)
    }

    /// Starts the daemon and waits for its first answer.
    fn serve(
        &mut self,
        title: &str,
        mut command: Command,
        log: &Path,
        guard: &Guard,
    ) -> Result<()> {
        let device = |path: &Path| fs::metadata(path).map(|is| is.dev());
        let before = device(&self.point).on(self.point.display())?;
        let said = File::create(log).on(log.display())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .process_group(0)
            .spawn()
            .on(command.get_program().to_string_lossy())?;
        let watched = guard.watch(&child);
        let daemon = self.daemon.insert(Daemon { child, watched });
        let end = Instant::now() + PATIENCE;
        while device(&self.point).is_ok_and(|now| now == before) {
            if daemon.watched.has_ended() {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(Error::Program {
                    command: title.to_owned(),
                    said: said.trim().to_owned(),
                    status: self.reap()?.unwrap_or_default(),
                });
            }
            if Instant::now() > end {
                return Err(Error::TooLong(PATIENCE.as_secs()));
            }
            sleep(Duration::from_micros(100));
        }
        fs::metadata(&self.point).on(self.point.display())?;
        Ok(())
    }

    /// Where it shows.
    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// The process that serves it.
    pub(super) fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(|daemon| daemon.child.id())
    }

    /// Gives the programs inside a /dev and a /proc.
    ///
    /// # Errors
    /// Those of mount(2).
    pub(super) fn furnish(&mut self) -> Result<()> {
        for (source, name) in [("/dev", "dev"), ("/proc", "proc")] {
            let target = self.point.join(name);
            if self.inside.contains(&target) {
                continue;
            }
            mount_bind(source, &target).on(target.display())?;
            self.inside.push(target);
        }
        Ok(())
    }

    fn unmount(&mut self) {
        for inside in self.inside.drain(..).rev() {
            detach(&inside);
        }
        if !self.is_copy {
            detach(&self.point);
        }
        if let Err(error) = self.reap() {
            eprintln!("compare: the daemon of {}: {error}", self.point.display());
        }
    }

    /// Waits for the daemon's end, kills it if that does not come.
    fn reap(&mut self) -> Result<Option<ExitStatus>> {
        let Some(Daemon { mut child, watched }) = self.daemon.take() else {
            return Ok(None);
        };
        let end = Instant::now() + PATIENCE;
        while !watched.has_ended() {
            if Instant::now() > end {
                eprintln!(
                    "compare: the daemon of {} does not end: killed",
                    self.point.display()
                );
                child.kill().on("kill")?;
                watched.wait_end();
            }
            sleep(Duration::from_millis(1));
        }
        // Off the guard's list before its number may become another's.
        drop(watched);
        child.wait().on("wait").map(Some)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Unmounts, by force if somebody stays in it.
fn detach(point: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    while unmount(point, UnmountFlags::empty()) == Err(rustix::io::Errno::BUSY) {
        if Instant::now() > end {
            eprintln!("compare: {} is busy, detached", point.display());
            // The last way there is; what is left, `Scratch` tells.
            let _ = unmount(point, UnmountFlags::DETACH);
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Mounts the kernel's overlayfs with its default options.
fn overlay(parts: Parts<'_>) -> Result<()> {
    let list = overlay_list(parts);
    let list = CString::new(list.as_bytes()).on("overlayfs")?;
    // mount(2) takes one page of options.
    if list.as_bytes().len() < 4096 {
        let flags = MountFlags::empty();
        let mounted = mount("overlay", parts.point, "overlay", flags, &*list);
        return mounted.on("overlayfs");
    }
    overlay_of_many(parts)
}

/// The same with layers given one by one, from Linux 6.7 on.
fn overlay_of_many(parts: Parts<'_>) -> Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).on("fsopen overlay")?;
    let lowers = parts
        .lowers
        .iter()
        .map(|lower| ("lowerdir+", lower.as_path()));
    let rest = [("upperdir", parts.upper), ("workdir", parts.work)];
    for (key, value) in lowers.chain(rest) {
        fsconfig_set_string(&context, key, value)
            .map_err(|error| tell(&context, error))
            .on(key)?;
    }
    fsconfig_create(&context)
        .map_err(|error| tell(&context, error))
        .on("overlayfs")?;
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    let mount = fsmount(&context, flags, attributes).on("fsmount overlay")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", rustix::fs::CWD, parts.point, flags).on(parts.point.display())
}

/// The error with what the kernel tells of it, one message for each read.
fn tell(context: impl AsFd, error: rustix::io::Errno) -> io::Error {
    let mut buffer = [0; 1024];
    let mut reason = error.to_string();
    while let Ok(length @ 1..) = rustix::io::read(&context, &mut buffer) {
        reason.push_str("; ");
        reason.push_str(String::from_utf8_lossy(&buffer[..length]).trim());
    }
    io::Error::other(reason)
}
