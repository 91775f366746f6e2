//! The kernel's table of mounts, `/proc/self/mountinfo`: what is mounted where.
//!
//! Read, never resolved: asking a path whose daemon is dead, or is ourselves, could fail or hang.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The type under which our mounts show.
pub(super) const TYPE: &str = "fuse.layerfs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it shows, absolute.
    pub(super) path: PathBuf,
    /// `major:minor` of its st_dev: names one live super block.
    pub(super) device: String,
    /// File system type.
    pub(super) kind: String,
}

/// The mount that shows at exactly `path` (absolute, without symlinks): the topmost of a stack.
pub(super) fn at(path: &Path) -> io::Result<Option<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(find(&table, path))
}

/// `path` without symlinks and `..`. A last component that cannot be looked at, as the root of a
/// mount whose daemon died, is taken as it is.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().or_else(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return Err(error);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(error);
        };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        Ok(parent.canonicalize()?.join(name))
    })
}

/// Later lines lie above earlier ones.
fn find(table: &[u8], path: &Path) -> Option<Mount> {
    table
        .split(|&byte| byte == b'\n')
        .rev()
        .filter_map(parse)
        .find(|mount| mount.path == path)
}

/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - type source options` (proc(5)).
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = fields.nth(2)?;
    let path = fields.nth(1)?;
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount {
        path: PathBuf::from(unescape(path)),
        device: String::from_utf8_lossy(device).into_owned(),
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] if first == b'\\' => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
        40 22 0:50 / /mnt/a\\040b rw shared:7 master:1 - fuse.layerfs with\\040space rw,user_id=0\n\
        41 22 0:51 / /mnt/c rw - tmpfs tmpfs rw\n\
        42 41 0:52 / /mnt/c rw - fuse.layerfs layerfs rw\n";

    #[test]
    fn finds_a_mount_with_a_space_in_its_path() {
        let mount = find(TABLE, Path::new("/mnt/a b")).expect("it is in the table");
        assert_eq!((mount.device.as_str(), mount.kind.as_str()), ("0:50", TYPE));
    }

    #[test]
    fn the_topmost_of_a_stack_counts() {
        let mount = find(TABLE, Path::new("/mnt/c")).expect("it is in the table");
        assert_eq!(mount.device, "0:52");
        assert_eq!(find(TABLE, Path::new("/mnt")), None);
    }
}
