//! A packed layer or merged index under its name, when it is whole.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::layer::packed::Pack;

/// Order: all bytes under a name of their own, opened once again as a mount would, flushed, then renamed:
/// whatever happens, `path` is what it was, or whole.
pub(super) fn publish<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<T, String>,
) -> Result<T, String> {
    let shown = path.display().to_string();
    let name = path
        .file_name()
        .ok_or_else(|| format!("{shown}: no name for a file"))?;
    let scratch = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let failed = |error: io::Error| format!("{shown}: {error}");
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(&scratch)
        .map_err(failed)?;
    let written = fill(&mut file).and_then(|packed| {
        file.sync_all().map_err(failed)?;
        Pack::open(&scratch).map_err(|error| error.to_string())?;
        fs::rename(&scratch, path).map_err(failed)?;
        Ok(packed)
    });
    if written.is_err() {
        // It is the failure before that is told.
        let _ = fs::remove_file(&scratch);
    }
    let packed = written?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new("."))).map_err(failed)?;
    directory.sync_all().map_err(failed)?;
    Ok(packed)
}
