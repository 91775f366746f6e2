//! `layerfs mount`: opens the layers, mounts, serves; in the background unless told otherwise.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::options::{Options, Plan};
use crate::ops::FileSystem;
use crate::transport::{self, Report, Side};

const EXAMPLES: &str = "\
Examples:
  layerfs mount --lower /srv/base --upper /srv/diff --work /srv/work /mnt
  layerfs mount --lower /srv/patch --lower /srv/base /mnt      # the first lies on top; read-only
  layerfs mount --lower / --upper u --work w -o nodev,noatime,fsname=demo mnt

Options for -o (several in one list, or -o repeated):
  ro, rw                    refuse changes, or not (rw needs an upper)
  nosuid, nodev, noexec     setuid, device nodes and programs have no effect (default: they have)
  noatime, sync, dirsync    as for any mount
  volatile                  as --volatile
  fsname=NAME               the source that /proc/mounts shows
  timeout=SECONDS           how long the kernel believes names and attributes; default a year, since
                            all changes go through the mount; less shows sooner what somebody
                            changes in a layer's files (new names in a layer may never show)
  transport=auto|rings|device
                            as --transport
  io=auto|cached|writeback  as --io
  threads=N                 threads that serve over /dev/fuse, or that do what takes long for the
                            rings (default: one for each CPU, 2 to 16)
  metacopy=on|follow|off    copy up only the metadata where only that changes; follow: also believe
                            such copies found in lowers; off: always whole files
  redirect_dir=follow|off   believe renamed directories found in lowers, or refuse such lowers
  allow_root                only root may enter (default: everybody, permissions are checked)
  noacl                     the kernel does not enforce POSIX ACLs
  remount                   change the flags (ro, nosuid, noatime, ...) of the layerfs mounted there
  lowerdir=A:B, lowerdir+=A, upperdir=U, workdir=W
                            the layers, as overlayfs and fuse-overlayfs name them; a colon, comma
                            or backslash in a path is written with a backslash before it";

/// Mount a union of directories and packed layers; returns when it serves.
///
/// The lowers are never written. All changes go to the upper; without one the mount is read-only.
/// Setuid programs and device nodes work unless -o nosuid,nodev is given.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A read-only layer, a directory or a packed one (layerfs pack); repeated, the first lies on top
    #[arg(long, value_name = "DIR|FILE.lfs")]
    lower: Vec<PathBuf>,
    /// The writable diff, which takes all changes; needs --work
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    /// Scratch for the upper: an empty directory on the same file system
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Refuse every change, though there is an upper
    #[arg(long)]
    read_only: bool,
    /// Never sync: faster, but after a crash the upper is refused
    #[arg(long)]
    volatile: bool,
    /// Stay in the foreground; Ctrl-C unmounts
    #[arg(short, long)]
    foreground: bool,
    /// Log every failed request to stderr (seen with --foreground)
    #[arg(short, long)]
    debug: bool,
    /// How requests come: rings (io_uring, Linux 6.14, fuse.enable_uring), device (/dev/fuse), or
    /// auto: rings if they can be had
    #[arg(long, value_name = "HOW", value_parser = ["auto", "rings", "device"])]
    transport: Option<String>,
    /// How data goes: cached sends each write at once; writeback lets the kernel gather writes until
    /// close or fsync (many small ones take half to a third of the time; what is held back is lost if layerfs
    /// is killed, a full disk shows at close, holes of sparse files are not told); auto: cached
    #[arg(long, value_name = "HOW", value_parser = ["auto", "cached", "writeback"])]
    io: Option<String>,
    /// Options, separated by commas; see below
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Where the union shows: a directory outside upper and work
    mountpoint: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: Args) -> Result<(), String> {
    super::start_logging(args.debug);
    let mut options = Options::default();
    for list in &args.options {
        options
            .apply(list, false)
            .map_err(|error| error.to_string())?;
    }
    for (key, value) in [("transport", &args.transport), ("io", &args.io)] {
        if let Some(value) = value {
            options
                .apply(format!("{key}={value}").as_ref(), false)
                .map_err(|error| error.to_string())?;
        }
    }
    options.lowers.splice(0..0, args.lower);
    options.upper = args.upper.or(options.upper);
    options.work = args.work.or(options.work);
    options.read_only |= args.read_only;
    options.volatile |= args.volatile;
    if options.remount {
        return remount(&options, &args.mountpoint);
    }
    let plan = options.plan().map_err(|error| error.to_string())?;
    start(&plan, &args.mountpoint, args.foreground)
}

/// Changes the flags (`ro`, `nosuid`, ...) of the layerfs that is mounted there.
pub(super) fn remount(options: &Options, mountpoint: &Path) -> Result<(), String> {
    transport::remount(mountpoint, &options.mount_options()).map_err(|error| error.to_string())
}

/// Mounts and serves; returns when it is unmounted, or, in the parent of a background mount, when
/// it serves.
pub(super) fn start(plan: &Plan, mountpoint: &Path, foreground: bool) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err(format!(
            "mount on {}: only root may mount: run with sudo",
            mountpoint.display()
        ));
    }
    let mountpoint = transport::check_mountpoint(mountpoint).map_err(|error| error.to_string())?;
    refuse_inside(plan, &mountpoint)?;
    transport::prepare_process();
    if foreground {
        return serve(plan, &mountpoint, || {});
    }
    match transport::background() {
        Err(error) => Err(format!("going to the background: {error}")),
        Ok(Side::Parent(result)) => result,
        Ok(Side::Child(report)) => serve_in_background(plan, &mountpoint, report),
    }
}

/// The child: tells its parent when it serves, or why it never will.
fn serve_in_background(plan: &Plan, mountpoint: &Path, report: Report) -> Result<(), String> {
    let report = Cell::new(Some(report));
    let result = serve(plan, mountpoint, || {
        // No directory is kept busy by us. The layers are open; the mount point is absolute.
        if let Err(error) = std::env::set_current_dir("/") {
            tracing::debug!(%error, "cannot leave the working directory");
        }
        if let Some(report) = report.take() {
            report.ready();
        }
    });
    if let Err(message) = &result
        && let Some(report) = report.take()
    {
        // The parent prints it; two lines would be one too many.
        report.failed(message);
        std::process::exit(super::FAILED);
    }
    result
}

fn serve(plan: &Plan, mountpoint: &Path, ready: impl FnOnce()) -> Result<(), String> {
    // The layers first: a lower may lie below the mount point, or contain it.
    let file_system = FileSystem::open(&plan.config).map_err(|error| error.to_string())?;
    transport::serve(file_system, mountpoint, &plan.mount, ready).map_err(|error| error.to_string())
}

/// A mount point inside the upper or the work directory would show the mount in itself.
fn refuse_inside(plan: &Plan, mountpoint: &Path) -> Result<(), String> {
    let Some(upper) = &plan.config.upper else {
        return Ok(());
    };
    for (role, place) in [("upper", &upper.upper), ("work", &upper.work)] {
        // What cannot be looked at is told by FileSystem::open.
        let Ok(place_is) = place.metadata() else {
            continue;
        };
        let same = |path: &Path| {
            path.metadata()
                .is_ok_and(|is| (is.dev(), is.ino()) == (place_is.dev(), place_is.ino()))
        };
        if mountpoint.ancestors().any(same) {
            return Err(format!(
                "mount point {} lies in the {role} directory {}: take a directory outside",
                mountpoint.display(),
                place.display()
            ));
        }
    }
    Ok(())
}
