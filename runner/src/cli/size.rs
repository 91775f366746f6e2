//! How much a tree takes on disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of all files below, not counting directories; what cannot be looked at counts nothing.
pub(super) fn used(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.blocks() * 512;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| used(&entry.path())).sum()
}
