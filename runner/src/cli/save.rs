//! `runner save`: images as one archive.

use super::output;
use crate::error::{Error, Result};
use crate::image::Store;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Arguments of `save`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The archive has docker's form and OCI's at once: docker load, podman load, skopeo (docker-archive:
and oci-archive:) and runner load read it.

Examples:
  runner save -o debian.tar debian
  runner save debian nginx | zstd > images.tar.zst"
)]
pub(super) struct Args {
    /// Write to this file, which is replaced when the archive is whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Names or ids of images; ids have no name in the archive
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let store = Store::open(root)?;
    to_file_or_stdout(args.output.as_deref(), |to| {
        Ok(store.save(&args.images, to)?)
    })?;
    Ok(0)
}

/// Writes an archive to a file, under a name of its own until it is whole, or to standard output, but
/// to no terminal.
pub(super) fn to_file_or_stdout(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let Some(path) = path else {
        if io::stdout().is_terminal() {
            let why = "an archive is not for a terminal; use -o FILE, or redirect it";
            return Err(Error::Usage(why.to_owned()));
        }
        let mut to = BufWriter::with_capacity(256 << 10, io::stdout().lock());
        write(&mut to)?;
        return to
            .flush()
            .map_err(Error::system("write to standard output"));
    };
    // Something else than a file, as /dev/null or a pipe, cannot be replaced.
    if path.exists() && !path.is_file() {
        let mut file = File::options().write(true).open(path);
        let file = file
            .as_mut()
            .map_err(|e| Error::io("open", path)(io::Error::from(e.kind())))?;
        return write(file);
    }
    to_new_file(path, write)
}

/// Writes a file that has no name until it is whole: who is killed leaves nothing.
fn to_new_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scratch = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mode = Mode::from_raw_mode(0o666);
    let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let (mut file, named) = match rustix::fs::open(directory, unnamed, mode) {
        Ok(fd) => (File::from(fd), false),
        // Not every file system has files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
            let create = File::options().write(true).create_new(true).open(&scratch);
            (create.map_err(Error::io("create", path))?, true)
        }
        Err(errno) => return Err(Error::io("create", path)(errno.into())),
    };
    let failed = || Error::io("write", path);
    let written = write(&mut file).and_then(|()| {
        file.sync_all().map_err(failed())?;
        if !named {
            let open = format!("/proc/self/fd/{}", file.as_raw_fd());
            let link = |to: &Path| linkat(CWD, &open, CWD, to, AtFlags::SYMLINK_FOLLOW);
            match link(path) {
                Ok(()) => return Ok(()),
                // To be replaced, which takes a name.
                Err(Errno::EXIST) => link(&scratch).map_err(|e| failed()(e.into()))?,
                Err(errno) => return Err(failed()(errno.into())),
            }
        }
        fs::rename(&scratch, path).map_err(failed())
    });
    if written.is_err() {
        // It is the failure before that is told.
        let _ = fs::remove_file(&scratch);
    }
    written
}
