//! The marks of a diff, as overlayfs, AUFS and fuse-overlayfs write them (contract R2).
//!
//! ```text
//!   whiteout   char 0/0 | .wh.NAME | empty file with overlay.whiteout, in a dir with opaque=x
//!   opaque     trusted. or user.overlay.opaque=y | user.fuseoverlayfs.opaque=y | .wh..wh..opq
//!   redirect   trusted. or user.overlay.redirect = /path from the root | name in the same parent
//!   metacopy   trusted. or user.overlay.metacopy: the data lies in a layer below
//!   char00     (ours) an empty file that shows as char 0/0, which a user made (R6)
//!   origin     (ours) where a copied-up object came from, see `upper::record`
//! ```
//!
//! Sources: Documentation/filesystems/overlayfs.rst and fs/overlayfs/overlayfs.h of the kernel, aufs(5).

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{FileType, Stat};

use crate::error::Result;
use crate::sys::at::{At, xattr_names};

/// The prefix of AUFS and OCI whiteouts.
pub const WH_PREFIX: &[u8] = b".wh.";
/// The AUFS and OCI name for "this directory is opaque".
pub const WH_OPAQUE: &[u8] = b".wh..wh..opq";

/// The namespaces in which marks are read; the first two are also written.
pub const PREFIXES: [&str; 3] = ["trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."];

/// An object of a layer or of the upper.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its attributes, with the type and device number it is to show.
    pub stat: Stat,
    /// Its marks.
    pub marks: Marks,
}

/// What a name means in one directory of one layer, or of the upper.
#[derive(Debug)]
pub enum Found {
    /// Nothing: ask what lies below.
    Absent,
    /// Deleted: ask no further.
    Whiteout,
    /// This object.
    Object(Box<Object>),
}

/// What an opaque mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Opaque {
    /// Nothing: merge with what is below.
    #[default]
    No,
    /// Hide everything below.
    Yes,
    /// Merge, but look for whiteouts in xattr form (`opaque=x`).
    XWhiteouts,
}

/// All marks that one object carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// `overlay.opaque`.
    pub opaque: Opaque,
    /// `overlay.redirect`.
    pub redirect: Option<OsString>,
    /// `overlay.metacopy`.
    pub metacopy: bool,
    /// `overlay.whiteout`.
    pub whiteout: bool,
    /// `overlay.impure`: holds children that came from elsewhere.
    pub impure: bool,
    /// Our char 0/0 stand-in.
    pub char00: bool,
    /// A hard link out of its (packed) layer: the path of what lower layers have there.
    pub outside: Option<OsString>,
    /// Our origin record, undecoded.
    pub origin: Option<Vec<u8>>,
    /// `overlay.origin`: the kernel's overlayfs copied it up.
    pub kernel_origin: bool,
}

/// Something that has extended attributes.
pub trait Attributes: Copy {
    /// Their names, each closed by a NUL.
    fn list_xattrs(self) -> Result<Vec<u8>>;
    /// The value of one; `None` if there is none of that name.
    fn xattr(self, name: &CStr) -> Result<Option<Vec<u8>>>;
}

impl Attributes for At<'_> {
    fn list_xattrs(self) -> Result<Vec<u8>> {
        Ok(At::list_xattrs(self)?)
    }

    fn xattr(self, name: &CStr) -> Result<Option<Vec<u8>>> {
        Ok(At::xattr(self, name)?)
    }
}

impl Marks {
    /// Reads the marks of the object at `at`: one system call when it has none.
    pub fn read(at: impl Attributes) -> Result<Self> {
        let mut marks = Self::default();
        for name in xattr_names(&at.list_xattrs()?) {
            let Some(key) = key_of(name) else { continue };
            match key {
                b"whiteout" => marks.whiteout = true,
                b"metacopy" => marks.metacopy = true,
                b"impure" => marks.impure = true,
                b"origin" => marks.kernel_origin = true,
                b"layerfs.char00" => marks.char00 = true,
                b"opaque" | b"redirect" | b"layerfs.origin" => {
                    if let Some(value) = read_value(at, name)? {
                        marks.take(key, value);
                    }
                }
                _ => {}
            }
        }
        Ok(marks)
    }

    fn take(&mut self, key: &[u8], value: Vec<u8>) {
        match key {
            b"opaque" if value == b"y" => self.opaque = Opaque::Yes,
            b"opaque" if value == b"x" && self.opaque == Opaque::No => {
                self.opaque = Opaque::XWhiteouts;
            }
            b"redirect" => self.redirect = Some(OsString::from_vec(value)),
            b"layerfs.origin" => self.origin = Some(value),
            _ => {}
        }
    }
}

/// The key behind one of the [`PREFIXES`]; `None` for everything that is the user's own, escaped
/// names included.
pub fn key_of(name: &[u8]) -> Option<&[u8]> {
    let key = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix.as_bytes()))?;
    (!key.starts_with(b"overlay.")).then_some(key)
}

fn read_value(at: impl Attributes, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let name: Vec<u8> = name.iter().copied().chain([0]).collect();
    let Ok(name) = CStr::from_bytes_with_nul(&name) else {
        return Ok(None);
    };
    at.xattr(name)
}

/// Whether `stat` is a whiteout in overlay's form, char 0/0.
pub fn is_char00(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The name that a `.wh.NAME` hides; `None` for other names and for the bare `.wh.` and the
/// `.wh..wh.` family, which hide nothing.
pub fn hidden_name(name: &OsStr) -> Option<&OsStr> {
    let rest = name.as_bytes().strip_prefix(WH_PREFIX)?;
    let hides = !rest.is_empty() && !rest.starts_with(WH_PREFIX) && rest != b"." && rest != b"..";
    hides.then(|| OsStr::from_bytes(rest))
}

/// Whether a name belongs to AUFS: it is never shown from a layer.
pub fn is_wh_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(WH_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_wh_names_hide_what_they_say() {
        let hidden = |name: &str| hidden_name(OsStr::new(name)).map(|n| n.to_owned());
        assert_eq!(hidden(".wh.file"), Some("file".into()));
        for name in [
            "file",
            ".wh.",
            ".wh..",
            ".wh...",
            ".wh..wh..opq",
            ".wh..wh.plnk",
        ] {
            assert_eq!(hidden(name), None, "{name}");
        }
    }

    #[test]
    fn r5_escaped_names_are_the_users() {
        assert_eq!(key_of(b"trusted.overlay.opaque"), Some(&b"opaque"[..]));
        assert_eq!(key_of(b"user.overlay.redirect"), Some(&b"redirect"[..]));
        assert_eq!(key_of(b"trusted.overlay.overlay.opaque"), None);
        assert_eq!(key_of(b"user.mine"), None);
    }
}
