//! `layerfs cat`: files of a packed layer.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::ReadWriteFlags;

use super::output::quoted;
use crate::error::{Error, Result};
use crate::layer::packed::Pack;
use crate::layer::packed::walk::find;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

const EXAMPLES: &str = "\
Examples:
  layerfs cat base.lfs etc/os-release
  layerfs cat base.lfs usr/bin/sh | sha256sum

Exit codes: 0 done, 1 a path is no file (what came before it is printed), 2 wrong usage.";

/// Print files of a packed layer, one after the other.
///
/// Paths are as the layer has them: symbolic links are not followed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The packed layer
    layer: PathBuf,
    /// The files in it
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    let pack = Pack::open(&args.layer).map_err(|error| error.to_string())?;
    for path in &args.paths {
        match copy(&pack, path) {
            Err(Stop::Why(why)) => {
                return Err(format!("{}: {}: {why}", args.layer.display(), quoted(path)));
            }
            Err(Stop::Output(error)) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(Stop::Output(error)) => {
                return Err(format!("writing to standard output: {error}"));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Why printing ends early.
enum Stop {
    Why(String),
    Output(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Why(error.to_string())
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Why(errno.to_string())
    }
}

fn copy(pack: &Pack, path: &Path) -> Result<(), Stop> {
    let number = find(pack, path.as_os_str().as_bytes())?.ok_or(Error::NotFound)?;
    let node = pack.node(number)?;
    let shown = |path: &[u8]| quoted(OsStr::from_bytes(path));
    match node.mode.get() & libc::S_IFMT {
        libc::S_IFREG => {}
        libc::S_IFDIR => return Err(Error::IsDirectory.into()),
        libc::S_IFLNK => {
            let target = shown(pack.target(node)?);
            return Err(Stop::Why(format!("a symbolic link to {target}")));
        }
        _ => return Err(Stop::Why("no file".to_owned())),
    }
    if let Some(target) = pack.outside(node)? {
        let target = shown(target);
        return Err(Stop::Why(format!(
            "a hard link to {target}, which is in a lower layer"
        )));
    }
    let data = pack.data(node)?;
    let mut out = io::stdout().lock();
    let (mut buffer, mut at) = (vec![0; CHUNK], 0);
    loop {
        let read = data.read(at, &mut buffer, ReadWriteFlags::empty())?;
        if read == 0 {
            return out.flush().map_err(Stop::Output);
        }
        out.write_all(&buffer[..read]).map_err(Stop::Output)?;
        at += read as u64;
    }
}
