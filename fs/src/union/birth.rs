//! What a new object gets from its directory: group, set-group-id bit, ACLs, or the umask.
//!
//! ```text
//!   made in place     the file system below does it all; only the umask is ours to apply
//!   made in the stage (over a whiteout) nothing is inherited there: all is worked out here
//! ```
//!
//! The algorithm is that of posix_acl_create (fs/posix_acl.c) and inode_init_owner (fs/inode.c).

use rustix::fs::Stat;

use crate::error::Result;
use crate::sys::at::At;

/// The xattr of the ACL that children inherit.
pub const ACL_DEFAULT: &std::ffi::CStr = c"system.posix_acl_default";
/// The xattr of an object's own ACL.
pub const ACL_ACCESS: &std::ffi::CStr = c"system.posix_acl_access";

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ENTRY: usize = 8;
const S_ISGID: u32 = libc::S_ISGID;

/// What a directory gives to its children.
#[derive(Debug, Clone)]
pub struct Inheritance {
    gid: Option<u32>,
    default_acl: Option<Vec<u8>>,
}

/// What one new object gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Born {
    /// Its permission bits.
    pub mode: u32,
    /// Its group, if the directory says so.
    pub gid: Option<u32>,
    /// Its own ACL, if the mode cannot say all.
    pub access_acl: Option<Vec<u8>>,
    /// The ACL that it passes on (directories).
    pub default_acl: Option<Vec<u8>>,
}

impl Inheritance {
    /// Reads what the directory at `at` gives.
    pub fn of(at: At<'_>, stat: &Stat) -> Result<Self> {
        Ok(Self {
            gid: (stat.st_mode & S_ISGID != 0).then_some(stat.st_gid),
            default_acl: at.xattr(ACL_DEFAULT)?.filter(|acl| is_acl(acl)),
        })
    }

    /// Whether the directory at `at` has an ACL for its children: it then replaces the umask.
    pub fn passes_acl(at: At<'_>) -> Result<bool> {
        Ok(at.xattr(ACL_DEFAULT)?.is_some_and(|acl| is_acl(&acl)))
    }

    /// Everything, for an object made in the stage.
    pub fn born(&self, mode: u32, umask: u32, is_directory: bool) -> Born {
        let sgid = if is_directory && self.gid.is_some() {
            S_ISGID
        } else {
            0
        };
        let Some(default_acl) = &self.default_acl else {
            return Born {
                mode: mode & !umask | sgid,
                gid: self.gid,
                access_acl: None,
                default_acl: None,
            };
        };
        let (mode, access_acl) = inherit(default_acl, mode);
        Born {
            mode: mode | sgid,
            gid: self.gid,
            access_acl,
            default_acl: is_directory.then(|| default_acl.clone()),
        }
    }
}

fn is_acl(bytes: &[u8]) -> bool {
    bytes.len() > VERSION.len()
        && bytes.starts_with(&VERSION)
        && (bytes.len() - VERSION.len()).is_multiple_of(ENTRY)
}

/// The mode and the ACL of a child created with `mode` under a default ACL; no ACL if the mode says
/// all.
fn inherit(acl: &[u8], mode: u32) -> (u32, Option<Vec<u8>>) {
    const USER_OBJ: u16 = 0x01;
    const GROUP_OBJ: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;

    let mut acl = acl.to_vec();
    let mut mode = mode;
    let has_mask = acl[VERSION.len()..]
        .chunks(ENTRY)
        .any(|entry| tag(entry) == MASK);
    let mut says_more = false;
    for entry in acl[VERSION.len()..].chunks_mut(ENTRY) {
        let shift = match tag(entry) {
            USER_OBJ => 6,
            OTHER => 0,
            MASK => 3,
            GROUP_OBJ if !has_mask => 3,
            _ => {
                says_more |= tag(entry) != GROUP_OBJ;
                continue;
            }
        };
        says_more |= tag(entry) == MASK;
        let permissions = u32::from(u16::from_le_bytes([entry[2], entry[3]])) & (mode >> shift) & 7;
        mode = mode & !(7 << shift) | permissions << shift;
        entry[2..4].copy_from_slice(&(permissions as u16).to_le_bytes());
    }
    (mode, says_more.then_some(acl))
}

fn tag(entry: &[u8]) -> u16 {
    u16::from_le_bytes([entry[0], entry[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for (tag, permissions) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(u32::MAX.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a3_a_plain_default_acl_becomes_mode_bits() {
        let (mode, left) = inherit(&acl(&[(1, 7), (4, 5), (0x20, 0)]), 0o666);
        assert_eq!((mode, left), (0o640, None));
    }

    #[test]
    fn a3_a_mask_limits_the_group_bits_and_the_acl_stays() {
        let given = acl(&[(1, 7), (2, 7), (4, 7), (0x10, 7), (0x20, 5)]);
        let (mode, left) = inherit(&given, 0o640);
        assert_eq!(mode, 0o640);
        assert_eq!(
            left,
            Some(acl(&[(1, 6), (2, 7), (4, 7), (0x10, 4), (0x20, 0)]))
        );
    }

    #[test]
    fn a7_the_set_group_id_bit_goes_to_directories_only() {
        let inheritance = Inheritance {
            gid: Some(9),
            default_acl: None,
        };
        assert_eq!(inheritance.born(0o777, 0o022, true).mode, 0o755 | S_ISGID);
        assert_eq!(inheritance.born(0o666, 0o022, false).mode, 0o644);
        assert_eq!(inheritance.born(0o666, 0o022, false).gid, Some(9));
    }
}
