//! Unfinished things of the store, and the file system calls its modules share.

use super::ImageError;
use super::error::io;
use crate::types::hex;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Beginning of the names of unfinished things.
const BEGINNING: &str = ".tmp-";

/// A name for something unfinished; what has the name is removed at the end of scope.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A name in a directory that nobody else uses.
    pub(super) fn new(directory: &Path) -> Result<Self, ImageError> {
        let mut bytes = [0; 8];
        let path = Path::new("/dev/urandom");
        let mut file = File::open(path).map_err(io("open", path))?;
        file.read_exact(&mut bytes).map_err(io("read", path))?;
        Ok(Self(directory.join(format!("{BEGINNING}{}", hex(&bytes)))))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a name is one of these.
    pub(super) fn is_name(name: &str) -> bool {
        name.starts_with(BEGINNING)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept by the next command.
        let _ = remove(&self.0);
    }
}

/// Removes a file or a whole directory, following no link; fine when it is gone.
pub(super) fn remove(path: &Path) -> Result<(), ImageError> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Brings a directory's names to the disk.
pub(super) fn flush(directory: &Path) -> Result<(), ImageError> {
    crate::publish::flush(directory).map_err(io("flush", directory))
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(io("open", path))
}

/// The names in a directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, ImageError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(io("list", directory))? {
        let entry = entry.map_err(io("list", directory))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
