//! POSIX ACLs as fs/posix_acl.c has them. An ACL is kept as the bytes of its attribute; one that says
//! no more than the mode does is not kept at all.

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NOBODY: u32 = u32::MAX;

/// Who may do what, in the order of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permission: u16,
    id: u32,
}

impl Acl {
    /// One that names a user, and so has a mask.
    pub fn naming(uid: u32, permission: u16, mode: u32) -> Self {
        let of = |tag, permission, id| Entry {
            tag,
            permission,
            id,
        };
        let class = |shift: u32| (mode >> shift & 7) as u16;
        Self {
            entries: vec![
                of(USER_OBJ, class(6), NOBODY),
                of(USER, permission, uid),
                of(GROUP_OBJ, class(3), NOBODY),
                of(MASK, class(3) | permission, NOBODY),
                of(OTHER, class(0), NOBODY),
            ],
        }
    }

    /// One that says what a mode says.
    pub fn minimal(mode: u32) -> Self {
        let mut acl = Self::naming(0, 0, mode);
        acl.entries.retain(|e| !matches!(e.tag, USER | MASK));
        acl
    }

    /// From the value of the attribute, which must be a good one.
    pub(crate) fn parse(value: &[u8]) -> Self {
        let (version, entries) = value.split_at(4);
        assert_eq!(version, VERSION.to_le_bytes(), "an ACL of another version");
        let entry = |bytes: &[u8]| {
            let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            Entry {
                tag: half(0),
                permission: half(2),
                id: u32::from(half(4)) | u32::from(half(6)) << 16,
            }
        };
        Self {
            entries: entries.chunks_exact(8).map(entry).collect(),
        }
    }

    /// The value of the attribute.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            bytes.extend(entry.tag.to_le_bytes());
            bytes.extend(entry.permission.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes
    }

    /// Whether it says more than a mode can.
    pub(crate) fn says_more(&self) -> bool {
        let more = |e: &Entry| matches!(e.tag, USER | GROUP | MASK);
        self.entries.iter().any(more)
    }

    /// The permission bits of a mode that go with it: of the group's, those of the mask.
    pub(crate) fn mode(&self) -> u32 {
        let of = |tag| self.entries.iter().find(|e| e.tag == tag);
        let bits = |tag| of(tag).map_or(0, |e| u32::from(e.permission));
        let group = if of(MASK).is_some() { MASK } else { GROUP_OBJ };
        bits(USER_OBJ) << 6 | bits(group) << 3 | bits(OTHER)
    }

    /// What chmod(2) makes of it.
    pub(crate) fn set_mode(&mut self, mode: u32) {
        let has_mask = self.entries.iter().any(|e| e.tag == MASK);
        let group = if has_mask { MASK } else { GROUP_OBJ };
        for entry in &mut self.entries {
            let shift = match entry.tag {
                USER_OBJ => 6,
                OTHER => 0,
                tag if tag == group => 3,
                _ => continue,
            };
            entry.permission = (mode >> shift & 7) as u16;
        }
    }

    /// What a new object gets from the default ACL of its directory, made with `mode`: no more than
    /// either says.
    pub(crate) fn inherited(&self, mode: u32) -> Self {
        let mut acl = self.clone();
        acl.set_mode(self.mode() & mode);
        acl
    }
}
