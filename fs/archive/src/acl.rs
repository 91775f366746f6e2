//! POSIX access lists that an archive has as text, as the kernel's attributes have them.
//!
//! ```text
//!   SCHILY.acl.access    user::rwx,user:lisa:r-x:502,group::r-x,mask::r-x,other::r-x
//!                     ──> system.posix_acl_access   version 2, then tag, permissions, id of each entry
//! ```
//!
//! bsdtar, star and GNU tar without `--xattrs` write them (star(5), pax(1)). A name counts by the number
//! behind it, or if it is one itself: whom a name means on this machine is nothing that an archive knows.

/// The pax record of an access list.
pub(crate) const ACCESS: &str = "SCHILY.acl.access";

/// Attributes by the pax record they come from.
pub(crate) const ATTRIBUTES: [(&str, &str); 2] = [
    (ACCESS, "system.posix_acl_access"),
    ("SCHILY.acl.default", "system.posix_acl_default"),
];

/// `ACL_EA_VERSION` (linux/posix_acl_xattr.h).
const VERSION: u32 = 2;

/// The id of entries that have none.
const UNDEFINED: u32 = u32::MAX;

/// Tags as the kernel numbers them (linux/posix_acl.h), in the order it wants them.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// An entry: tag, id, permissions.
type Entry = (u16, u32, u16);

/// A list, encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// The attribute's value.
    pub(crate) value: Vec<u8>,
    /// The permission bits that an object of this access list has: the mask stands for the group. bsdtar
    /// does not put it into the header.
    pub(crate) mode: u32,
}

/// The list of a text; `None` for a text that is no list, or that the kernel would refuse, or that
/// names somebody whose number nobody knows.
pub(crate) fn encode(text: &[u8]) -> Option<List> {
    let text = std::str::from_utf8(text).ok()?;
    let lines = text.split([',', '\n']);
    let lines = lines.map(|line| line.split('#').next().unwrap_or_default().trim());
    let entries = lines.filter(|line| !line.is_empty()).map(entry);
    let mut entries = entries.collect::<Option<Vec<Entry>>>()?;
    entries.sort_unstable();
    if !is_valid(&entries) {
        return None;
    }
    let of = |tag| {
        let found = entries.iter().find(|entry| entry.0 == tag);
        found.map(|entry| u32::from(entry.2))
    };
    let group = of(MASK).or_else(|| of(GROUP_OBJ));
    let mode = of(USER_OBJ)? << 6 | group? << 3 | of(OTHER)?;
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Some(List { value, mode })
}

/// `tag:name:permissions`, or with the number of the name behind.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split(':').map(str::trim);
    let (kind, name) = (fields.next()?, fields.next()?);
    let permissions = permissions(fields.next()?)?;
    let number = fields.next().unwrap_or(name).parse().ok();
    let number = number.filter(|number: &u32| *number != UNDEFINED);
    let (tag, id) = match (kind, name) {
        ("user" | "u", "") => (USER_OBJ, UNDEFINED),
        ("group" | "g", "") => (GROUP_OBJ, UNDEFINED),
        ("mask" | "m", "") => (MASK, UNDEFINED),
        ("other" | "o", "") => (OTHER, UNDEFINED),
        ("user" | "u", _) => (USER, number?),
        ("group" | "g", _) => (GROUP, number?),
        _ => return None,
    };
    Some((tag, id, permissions))
}

fn permissions(text: &str) -> Option<u16> {
    text.chars().try_fold(0, |all, letter| match letter {
        'r' => Some(all | 4),
        'w' => Some(all | 2),
        'x' => Some(all | 1),
        '-' => Some(all),
        _ => None,
    })
}

/// As `posix_acl_valid` (fs/posix_acl.c) has it, of sorted entries.
fn is_valid(entries: &[Entry]) -> bool {
    let count = |tag| entries.iter().filter(|entry| entry.0 == tag).count();
    let named = count(USER) + count(GROUP);
    let once = [USER_OBJ, GROUP_OBJ, OTHER]
        .iter()
        .all(|tag| count(*tag) == 1);
    let twice = |pair: &[Entry]| matches!(pair, [a, b] if (a.0, a.1) == (b.0, b.1));
    once && !entries.windows(2).any(twice) && (count(MASK) == 1 || (count(MASK) == 0 && named == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_star_and_of_acl_to_text() {
        let star = encode(b"user::rwx,user:lisa:r-x:502,group::r-x,mask::r-x,other::r--").unwrap();
        let lines = b"group::r-x\nother::r--\nuser::rwx\nuser:502:r-x\t#effective:r-x\nmask::r-x\n";
        assert_eq!(encode(lines).unwrap(), star);
        assert_eq!(star.mode, 0o754);
        assert_eq!(star.value.len(), 4 + 5 * 8);
        let begins = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255];
        assert_eq!(star.value[..12], begins);
        assert_eq!(star.value[12..20], [2, 0, 5, 0, 246, 1, 0, 0]);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in [
            "",
            "user::rwx",
            "user::rwx,group::r-x,other::r--,user:lisa:r-x,mask::r-x",
            "user::rwx,group::r-x,other::r--,user:5:r-x",
            "user::rwx,user::rwx,group::r-x,other::r--",
            "user::rwx,group::r-x,other::r--,user:5:r-x,user:5:r--,mask::rwx",
            "user::rwz,group::r-x,other::r--",
            "owner@:rwx::allow",
            "user::rwx,group::r-x,other::r--,user:4294967295:r-x,mask::r-x",
        ] {
            assert_eq!(encode(text.as_bytes()), None, "{text}");
        }
    }
}
