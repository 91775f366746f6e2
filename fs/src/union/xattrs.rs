//! Extended attribute names: which are the user's (R5).
//!
//! ```text
//!   merged view                        on disk
//!   user.mine                  <──>    user.mine
//!   (not shown)                        trusted.overlay.opaque          ours
//!   trusted.overlay.opaque     <──>    trusted.overlay.overlay.opaque  the user's, one level in
//! ```
//!
//! So a layerfs, or a kernel overlayfs, can have its upper inside a layerfs. The kernel does the same
//! (fs/overlayfs/xattrs.c).

use std::ffi::CString;

use crate::marks::PREFIXES;

const ESCAPE: &[u8] = b"overlay.";

/// The name on disk of a name in the merged view; `None` if it can be none (a NUL inside).
pub fn to_disk(name: &[u8]) -> Option<CString> {
    let escaped = match split(name) {
        Some((prefix, key)) => [prefix, ESCAPE, key].concat(),
        None => name.to_vec(),
    };
    CString::new(escaped).ok()
}

/// The name in the merged view of a name on disk; `None` if it is one of ours.
pub fn to_merged(name: &[u8]) -> Option<Vec<u8>> {
    match split(name) {
        Some((prefix, key)) => key.strip_prefix(ESCAPE).map(|key| [prefix, key].concat()),
        None => Some(name.to_vec()),
    }
}

/// Names that copy-up leaves behind: the marks of the layer it comes from.
pub fn stays_behind(name: &[u8]) -> bool {
    to_merged(name).is_none()
}

fn split(name: &[u8]) -> Option<(&'static [u8], &[u8])> {
    PREFIXES.iter().find_map(|prefix| {
        let prefix = prefix.as_bytes();
        name.strip_prefix(prefix).map(|key| (prefix, key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_our_names_are_hidden_and_escaped_one_level() {
        let disk = |name: &[u8]| to_disk(name).map(CString::into_bytes);
        for (merged, on_disk) in [
            (&b"user.mine"[..], &b"user.mine"[..]),
            (b"trusted.overlay.opaque", b"trusted.overlay.overlay.opaque"),
            (
                b"trusted.overlay.overlay.opaque",
                b"trusted.overlay.overlay.overlay.opaque",
            ),
            (b"user.overlay.redirect", b"user.overlay.overlay.redirect"),
            (
                b"user.fuseoverlayfs.opaque",
                b"user.fuseoverlayfs.overlay.opaque",
            ),
        ] {
            assert_eq!(disk(merged).as_deref(), Some(on_disk));
            assert_eq!(to_merged(on_disk).as_deref(), Some(merged));
        }
        for ours in [
            &b"trusted.overlay.opaque"[..],
            b"user.overlay.x",
            b"user.fuseoverlayfs.y",
        ] {
            assert_eq!(to_merged(ours), None);
            assert!(stays_behind(ours));
        }
        assert!(!stays_behind(b"security.capability"));
    }
}
