//! Mounting and unmounting: mount(2) and umount2(2), called by us.
//!
//! ```text
//!   open /dev/fuse ─> mount(2) with fd=N ─> the kernel sends INIT down that fd
//!                          │
//!                  type fuse.layerfs, source = fsname, default_permissions, allow_other
//! ```
//!
//! No helper of libfuse is asked: it forces nosuid and nodev, which a root file system cannot live with.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::stats::Statistics;
use super::{sys, table};

const DEVICE: &str = "/dev/fuse";

/// How long entries and attributes hold when nobody says otherwise: all changes go through the
/// mount, so the kernel's knowledge never ages.
pub const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long `unmount` waits for the daemon to sync and end.
const DAEMON_END: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// How the kernel's requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Over rings where they can be had, else over /dev/fuse.
    #[default]
    Auto,
    /// Over io_uring, one ring for each CPU (Linux 6.14).
    Rings,
    /// Over /dev/fuse.
    Device,
}

/// How a file system is shown and served. `MountOptions::default()` is what a root file system
/// wants: read-write, suid and dev honoured, everybody allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// The source that `/proc/mounts` shows; any characters.
    pub fsname: OsString,
    /// The kernel refuses every change.
    pub read_only: bool,
    /// setuid, setgid and file capabilities have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Programs cannot be run.
    pub noexec: bool,
    /// Reading leaves access times alone.
    pub noatime: bool,
    /// Every write is synced before it returns.
    pub sync: bool,
    /// Every change of a directory is synced before it returns.
    pub dirsync: bool,
    /// Other users than the one who mounts may enter (permissions are checked all the same).
    pub allow_other: bool,
    /// The kernel enforces POSIX ACLs.
    pub acl: bool,
    /// How long the kernel believes names and attributes. Less than [`FOREVER`] says that files of
    /// the layers may change behind the mount: cached pages are then dropped on every open. What
    /// the operations remember of a layer (which names it has) they remember all the same.
    pub timeout: Duration,
    /// How requests come.
    pub transport: Transport,
    /// How data goes.
    pub io: Io,
    /// Threads that serve over /dev/fuse, or do for the rings what would make those wait; at least 1.
    pub threads: usize,
    /// SIGTERM, SIGINT and SIGHUP unmount and end the serving; for a process that does nothing
    /// else. [`super::serve`] must then be called before any other thread is made.
    pub stop_on_signals: bool,
}

/// How the data of files goes between the kernel's page cache and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// A write is sent at once: what write(2) took survives our own death.
    #[default]
    Cached,
    /// The kernel gathers writes until close, fsync, or for some seconds, as it does for a disk. What
    /// is held back is lost with us, and errors (ENOSPC) come at close and fsync.
    Writeback,
}

impl Default for MountOptions {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            fsname: OsString::from("layerfs"),
            read_only: false,
            nosuid: false,
            nodev: false,
            noexec: false,
            noatime: false,
            sync: false,
            dirsync: false,
            allow_other: true,
            acl: true,
            timeout: FOREVER,
            transport: Transport::Auto,
            io: Io::Cached,
            threads: cpus.clamp(2, 16),
            stop_on_signals: false,
        }
    }
}

impl MountOptions {
    fn flags(&self) -> MsFlags {
        let wanted = [
            (self.read_only, MsFlags::MS_RDONLY),
            (self.nosuid, MsFlags::MS_NOSUID),
            (self.nodev, MsFlags::MS_NODEV),
            (self.noexec, MsFlags::MS_NOEXEC),
            (self.noatime, MsFlags::MS_NOATIME),
            (self.sync, MsFlags::MS_SYNCHRONOUS),
            (self.dirsync, MsFlags::MS_DIRSYNC),
        ];
        wanted
            .into_iter()
            .filter_map(|(on, flag)| on.then_some(flag))
            .fold(MsFlags::empty(), MsFlags::union)
    }
}

/// Why a mount could not be made. Each tells what, on what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point cannot be reached.
    #[error("mount point {}: {source}", path.display())]
    MountPoint {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount point is no directory.
    #[error("mount point {}: not a directory", path.display())]
    NotDirectory {
        /// As given.
        path: PathBuf,
    },
    /// A layerfs (live or dead) is mounted there.
    #[error(
        "mount point {} already carries a layerfs: unmount that first (layerfs unmount {})",
        path.display(),
        path.display()
    )]
    Busy {
        /// Without symlinks.
        path: PathBuf,
    },
    /// `/dev/fuse` cannot be opened.
    #[error("{DEVICE}: {source}; {}", device_advice(source))]
    Device {
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("mount on {}: {source}; {}", path.display(), mount_advice(source))]
    Mount {
        /// Without symlinks.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn device_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => {
            "the kernel has no FUSE here: load it (modprobe fuse) or make the node (10, 229)"
        }
        _ => "run as root, outside a container that hides the device",
    }
}

fn mount_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "mounting needs CAP_SYS_ADMIN: run as root",
        Some(libc::ENODEV) => "the kernel has no FUSE: load it (modprobe fuse)",
        Some(libc::ENOSPC) => "too many mounts: see /proc/sys/fs/mount-max",
        _ => "see the kernel's log (dmesg)",
    }
}

/// Checks that a layerfs may be mounted at `mountpoint` and gives it without symlinks.
///
/// # Errors
/// It is missing, not a directory, or already the root of a layerfs mount.
pub fn check_mountpoint(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let unreachable = |source| MountError::MountPoint {
        path: mountpoint.to_owned(),
        source,
    };
    let path = table::resolve(mountpoint).map_err(unreachable)?;
    // First the table: the root of a dead mount cannot be looked at.
    if table::at(&path)
        .map_err(unreachable)?
        .is_some_and(|mount| mount.kind == table::TYPE)
    {
        return Err(MountError::Busy { path });
    }
    if !path.metadata().map_err(unreachable)?.is_dir() {
        return Err(MountError::NotDirectory {
            path: mountpoint.to_owned(),
        });
    }
    Ok(path)
}

/// Our mount in the table, made by this process.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    path: PathBuf,
    /// `major:minor`; `None` if the table did not tell (no /proc).
    device: Option<String>,
}

/// Mounts at `path` (checked) and gives the connection to the kernel, on which INIT waits. One READ asks
/// for `max_read` bytes at most.
pub(super) fn mount(
    path: &Path,
    options: &MountOptions,
    max_read: u32,
) -> Result<(OwnedFd, Mounted), MountError> {
    let device = open_device().map_err(|source| MountError::Device { source })?;
    let allow_other = if options.allow_other {
        ",allow_other"
    } else {
        ""
    };
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,max_read={max_read}\
         {allow_other}",
        device.as_raw_fd(),
        nix::unistd::geteuid(),
        nix::unistd::getegid(),
    );
    let source = Some(options.fsname.as_os_str());
    nix::mount::mount(
        source,
        path,
        Some(table::TYPE),
        options.flags(),
        Some(data.as_str()),
    )
    .map_err(|errno| MountError::Mount {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let found = table::at(path)
        .ok()
        .flatten()
        .filter(|mount| mount.kind == table::TYPE);
    let mounted = Mounted {
        path: path.to_owned(),
        device: found.map(|mount| mount.device),
    };
    Ok((device.into(), mounted))
}

/// A fresh fd of `/dev/fuse`.
pub(super) fn open_device() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
}

impl Mounted {
    /// Whether what shows at our path is our mount, and not one that was put over it.
    fn is_topmost(&self) -> bool {
        match (table::at(&self.path), &self.device) {
            (Ok(Some(mount)), Some(device)) => mount.kind == table::TYPE && mount.device == *device,
            _ => false,
        }
    }

    /// Unmounts while the file system still serves: at once if nobody uses it, else out of sight
    /// now and away when the last user leaves.
    pub(super) fn unmount(&self) -> io::Result<()> {
        if !self.is_topmost() {
            let why = "it is gone, or another mount lies over it: unmount that first";
            return Err(io::Error::other(why));
        }
        match nix::mount::umount2(&self.path, MntFlags::UMOUNT_NOFOLLOW) {
            Err(nix::errno::Errno::EBUSY) => self.detach(),
            result => result.map_err(io::Error::from),
        }
    }

    /// Takes the mount out of sight without asking the file system; for one that cannot serve.
    pub(super) fn detach(&self) -> io::Result<()> {
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        nix::mount::umount2(&self.path, flags).map_err(io::Error::from)
    }

    /// As [`Self::detach`], where nobody can be told of a failure.
    pub(super) fn detach_or_warn(&self) {
        if let Err(error) = self.detach() {
            tracing::warn!(path = %self.path.display(), %error, "a dead mount is left");
        }
    }

    /// Ends the connection: whoever waits for an answer gets ECONNABORTED.
    pub(super) fn abort(&self) {
        if !self.is_topmost() {
            tracing::error!(path = %self.path.display(), "cannot be aborted: it lies under a mount");
            return;
        }
        // It aborts first, and then may well be busy.
        let flags = MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW;
        if nix::mount::umount2(&self.path, flags).is_err() {
            self.clean_up();
        }
    }

    /// Detaches what is left of the mount after the connection ended otherwise than by an unmount
    /// (aborted, or the session failed).
    pub(super) fn clean_up(&self) {
        // The device number may be another mount's by now; a live one answers statfs.
        let dead = || {
            let figures = rustix::fs::statfs(&self.path);
            figures.is_err_and(|errno| errno == rustix::io::Errno::NOTCONN)
        };
        if self.is_topmost() && dead() {
            self.detach_or_warn();
        }
    }
}

/// Why a mount that is there could not be dealt with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// The path cannot be reached.
    #[error("{}: {source}", path.display())]
    Path {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing is mounted there.
    #[error("{}: not a mount point", path.display())]
    NotMounted {
        /// As given.
        path: PathBuf,
    },
    /// Something else is mounted there.
    #[error("{}: not a layerfs but a {kind} mount: use umount", path.display())]
    NotLayerfs {
        /// As given.
        path: PathBuf,
        /// The type of file system there.
        kind: String,
    },
    /// It is in use.
    #[error(
        "{}: in use by a running program (its directory or an open file): end it (see fuser -vm), \
         or unmount with --lazy",
        path.display()
    )]
    InUse {
        /// As given.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("{}: the kernel refused: {source}", path.display())]
    Refused {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is unmounted, but the daemon has not ended.
    #[error(
        "{} is unmounted, but its daemon (process {pid}) still syncs the upper after 30 s: wait \
         for it before the upper is used again",
        path.display()
    )]
    StillSyncing {
        /// As given.
        path: PathBuf,
        /// The daemon.
        pid: i32,
    },
}

/// Unmounts the layerfs at `mountpoint`, live or dead, and waits until its daemon has synced the
/// upper and ended, so that the upper can be used at once. With `lazy` it only takes the mount out
/// of sight: the file system goes away when the last user leaves.
///
/// # Errors
/// See [`UnmountError`].
pub fn unmount(mountpoint: &Path, lazy: bool) -> Result<(), UnmountError> {
    let given = || mountpoint.to_owned();
    let path = layerfs_at(mountpoint)?;
    let daemon = if lazy { None } else { daemon_of(&path) };
    let detach = if lazy {
        MntFlags::MNT_DETACH
    } else {
        MntFlags::empty()
    };
    match nix::mount::umount2(&path, detach | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => {}
        Err(nix::errno::Errno::EBUSY) => return Err(UnmountError::InUse { path: given() }),
        Err(errno) => {
            return Err(UnmountError::Refused {
                path: given(),
                source: errno.into(),
            });
        }
    }
    match daemon {
        Some((pid, process)) if !ends(&process) => {
            Err(UnmountError::StillSyncing { path: given(), pid })
        }
        _ => Ok(()),
    }
}

/// Changes the flags of the layerfs at `mountpoint` to those of `options` (mount -o remount); what it
/// shows and who serves it stay as they are.
///
/// # Errors
/// See [`UnmountError`]; `Refused` with EBUSY if it shall be read-only and files are open for writing.
pub fn remount(mountpoint: &Path, options: &MountOptions) -> Result<(), UnmountError> {
    let path = layerfs_at(mountpoint)?;
    let flags = options.flags() | MsFlags::MS_REMOUNT;
    nix::mount::mount(None::<&str>, &path, None::<&str>, flags, None::<&str>).map_err(|errno| {
        UnmountError::Refused {
            path,
            source: errno.into(),
        }
    })
}

/// What the layerfs at `mountpoint` tells of itself.
///
/// # Errors
/// See [`UnmountError`]; `Refused` if it is dead, or of a version that does not tell.
pub fn stats(mountpoint: &Path) -> Result<Statistics, UnmountError> {
    let path = layerfs_at(mountpoint)?;
    let asked = File::open(&path).and_then(|root| sys::ask_stats(&root));
    let told = asked.and_then(|json| Ok(serde_json::from_slice(&json)?));
    told.map_err(|source| UnmountError::Refused { path, source })
}

/// The path, without symlinks, of the layerfs that is mounted at `mountpoint`.
fn layerfs_at(mountpoint: &Path) -> Result<PathBuf, UnmountError> {
    let given = || mountpoint.to_owned();
    let unreachable = |source| UnmountError::Path {
        path: given(),
        source,
    };
    let path = table::resolve(mountpoint).map_err(unreachable)?;
    match table::at(&path).map_err(unreachable)? {
        None => Err(UnmountError::NotMounted { path: given() }),
        Some(mount) if mount.kind != table::TYPE => Err(UnmountError::NotLayerfs {
            path: given(),
            kind: mount.kind,
        }),
        Some(_) => Ok(path),
    }
}

/// The daemon that serves the mount at `path`, if it is alive, of our pid namespace, and a daemon.
fn daemon_of(path: &Path) -> Option<(i32, OwnedFd)> {
    let root = File::open(path).ok()?;
    let [pid, namespace] = sys::ask_server(&root).ok()?;
    if namespace != pid_namespace()? {
        return None;
    }
    let pid = i32::try_from(pid).ok()?;
    let process = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    Some((pid, process))
}

/// What [`super::ioctl::SERVER`] tells of this process.
pub(super) fn this_server() -> Option<[u64; 2]> {
    Some([u64::from(std::process::id()), pid_namespace()?])
}

fn pid_namespace() -> Option<u64> {
    Some(std::fs::metadata("/proc/self/ns/pid").ok()?.ino())
}

/// Waits for the process to end; false if it does not in time.
fn ends(process: &OwnedFd) -> bool {
    let mut waited = [PollFd::new(process, PollFlags::IN)];
    match rustix::event::poll(&mut waited, Some(&DAEMON_END)) {
        Ok(ready) => ready > 0,
        // A signal came: the user wants no more waiting.
        Err(_) => true,
    }
}
