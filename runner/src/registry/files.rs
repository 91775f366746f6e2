//! Small files of our own and of docker's: read bounded, replaced in one step.

use super::RegistryError;
use crate::publish::{Reach, publish};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The bytes of a file; `None` when there is none.
pub(super) fn read(path: &Path, longest: u64) -> Result<Option<Vec<u8>>, RegistryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(wrong(path, format!("cannot open it: {e}"))),
    };
    let mut bytes = Vec::new();
    let read = file.take(longest + 1).read_to_end(&mut bytes);
    read.map_err(|e| wrong(path, format!("cannot read it: {e}")))?;
    if bytes.len() as u64 > longest {
        return Err(wrong(path, format!("longer than {longest} bytes")));
    }
    Ok(Some(bytes))
}

/// Writes a file (0600) so that a reader sees the old one or the new one. Its directory is there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let scratch = path.with_file_name(name);
    let written = publish(path, &scratch, bytes, Reach::Disk);
    written.map_err(|e| wrong(path, format!("cannot write it: {e}")))
}

pub(super) fn wrong(path: &Path, why: String) -> RegistryError {
    RegistryError::File {
        path: path.to_owned(),
        why,
    }
}
