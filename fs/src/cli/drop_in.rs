//! Called as others are: `fuse-overlayfs -o lowerdir=... MOUNTPOINT`, and by mount(8) as its helper
//! `mount.layerfs SOURCE MOUNTPOINT -o ...`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::options::Options;
use super::{Stop, mount};

/// The form of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As fuse-overlayfs, and as mount.fuse calls a program.
    FuseOverlayfs,
    /// As mount(8) calls its helpers.
    MountHelper,
}

const EXAMPLES: &str = "\
Examples:
  fuse-overlayfs -o lowerdir=/srv/patch:/srv/base,upperdir=/srv/diff,workdir=/srv/work /mnt
  layerfs -f -o lowerdir=/srv/base /mnt

See `layerfs mount --help` for the options.";

/// A union file system in user space, called as fuse-overlayfs is.
#[derive(Debug, Parser)]
#[command(name = "layerfs", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(override_usage = "layerfs -o lowerdir=A:B[,upperdir=U,workdir=W,...] MOUNTPOINT")]
struct FuseOverlayfs {
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Stay in the foreground; Ctrl-C unmounts
    #[arg(short, long)]
    foreground: bool,
    /// Log every failed request to stderr, in the foreground
    #[arg(short, long)]
    debug: bool,
    /// Serve with one thread
    #[arg(short)]
    single: bool,
    /// Where the union shows; a name before it becomes the fsname
    #[arg(required = true, num_args = 1..=2, value_name = "MOUNTPOINT")]
    places: Vec<PathBuf>,
}

/// Mount a layerfs for mount(8).
#[derive(Debug, Parser)]
#[command(name = "mount.layerfs", version, max_term_width = 100)]
struct MountHelper {
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Check the options only
    #[arg(short)]
    fake: bool,
    /// Pass over unknown options
    #[arg(short)]
    sloppy: bool,
    /// Do not write /etc/mtab (nobody does)
    #[arg(short = 'n')]
    no_mtab: bool,
    /// Be verbose
    #[arg(short)]
    verbose: bool,
    /// The type, which is ours
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
    /// The name that /proc/mounts shows
    source: PathBuf,
    /// Where the union shows
    mountpoint: PathBuf,
}

/// The form of `args`, or `None` if they begin with a verb (or ask for help).
pub(super) fn form(args: &[OsString], verbs: &[String]) -> Option<Form> {
    let name = args
        .first()
        .and_then(|program| Path::new(program).file_name())
        .unwrap_or_default();
    if name.as_bytes().starts_with(b"mount.") {
        return Some(Form::MountHelper);
    }
    if name.as_bytes().starts_with(b"fuse-overlayfs") {
        return Some(Form::FuseOverlayfs);
    }
    let first = args.get(1)?;
    if first == "help" || verbs.iter().any(|verb| OsStr::new(verb) == first) {
        return None;
    }
    let has_options = args
        .iter()
        .skip(1)
        .any(|arg| arg.as_bytes().starts_with(b"-o"));
    has_options.then_some(Form::FuseOverlayfs)
}

/// Mounts as `args` say.
pub(super) fn run(form: Form, args: &[OsString]) -> Result<(), Stop> {
    match form {
        Form::FuseOverlayfs => {
            let args = FuseOverlayfs::try_parse_from(args).map_err(Stop::Usage)?;
            fuse_overlayfs(args).map_err(Stop::Failed)
        }
        Form::MountHelper => {
            let args = MountHelper::try_parse_from(args).map_err(Stop::Usage)?;
            mount_helper(&args).map_err(Stop::Failed)
        }
    }
}

fn fuse_overlayfs(mut args: FuseOverlayfs) -> Result<(), String> {
    super::start_logging(args.debug);
    let mountpoint = args.places.pop().unwrap_or_default();
    let mut options = named(args.places.first().map(PathBuf::as_path));
    if args.single {
        options
            .apply(OsStr::new("threads=1"), false)
            .map_err(|error| error.to_string())?;
    }
    for list in &args.options {
        options
            .apply(list, false)
            .map_err(|error| error.to_string())?;
    }
    if options.remount {
        return mount::remount(&options, &mountpoint);
    }
    let plan = options.plan().map_err(|error| error.to_string())?;
    mount::start(&plan, &mountpoint, args.foreground || args.debug)
}

fn mount_helper(args: &MountHelper) -> Result<(), String> {
    super::start_logging(args.verbose);
    let mut options = named(Some(&args.source));
    for list in &args.options {
        options
            .apply(list, args.sloppy)
            .map_err(|error| error.to_string())?;
    }
    if options.remount {
        return match args.fake {
            true => Ok(()),
            false => mount::remount(&options, &args.mountpoint),
        };
    }
    let plan = options.plan().map_err(|error| error.to_string())?;
    if args.fake {
        return Ok(());
    }
    mount::start(&plan, &args.mountpoint, false)
}

/// Options that begin with the source as fsname; `none` is how fstab says that there is none.
fn named(source: Option<&Path>) -> Options {
    let mut options = Options::default();
    match source {
        Some(source) if !source.as_os_str().is_empty() && source != Path::new("none") => {
            options.set_fsname(source.as_os_str());
        }
        _ => {}
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(line: &str) -> Option<Form> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        form(&args, &["mount".to_owned(), "unmount".to_owned()])
    }

    #[test]
    fn the_name_or_an_option_list_decides() {
        assert_eq!(
            form_of("/usr/bin/fuse-overlayfs-1.13 --version"),
            Some(Form::FuseOverlayfs)
        );
        assert_eq!(
            form_of("layerfs -o lowerdir=/a /mnt"),
            Some(Form::FuseOverlayfs)
        );
        assert_eq!(
            form_of("layerfs none /mnt -o lowerdir=/a"),
            Some(Form::FuseOverlayfs)
        );
        assert_eq!(
            form_of("layerfs -f -olowerdir=/a /mnt"),
            Some(Form::FuseOverlayfs)
        );
        assert_eq!(
            form_of("/sbin/mount.fuse.layerfs none /mnt"),
            Some(Form::MountHelper)
        );
        assert_eq!(form_of("layerfs mount -o ro --lower /a /mnt"), None);
        assert_eq!(form_of("layerfs --help"), None);
        assert_eq!(form_of("layerfs moutn /mnt"), None);
        assert_eq!(form_of("layerfs"), None);
    }
}
