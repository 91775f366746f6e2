//! Tar archives that no honest program makes.

use std::fs;
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// An archive whose names are written as raw bytes: the crate's own checks are passed by.
#[allow(missing_debug_implementations)] // the builder has none
pub struct Archive {
    builder: Builder<Vec<u8>>,
    like: Header,
}

impl Default for Archive {
    fn default() -> Self {
        Self::new()
    }
}

impl Archive {
    /// An empty one, whose headers are GNU's.
    pub fn new() -> Self {
        Self::like(Header::new_gnu())
    }

    /// An empty one with headers like this.
    pub fn like(like: Header) -> Self {
        Self {
            builder: Builder::new(Vec::new()),
            like,
        }
    }

    /// A member.
    pub fn entry(self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = self.like.clone();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.member(&header, content)
    }

    /// A member by its header, which is taken as it is.
    pub fn member(mut self, header: &Header, content: &[u8]) -> Self {
        self.builder.append(header, content).unwrap();
        self
    }

    /// A regular file.
    pub fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", b"hostile")
    }

    /// A directory.
    pub fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    /// A symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    /// A hard link.
    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    /// The pax records of the next member, with right lengths.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..).find(|n| n.to_string().len() + rest == *n);
            data.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", "", &data)
    }

    /// All its bytes, with the end mark.
    pub fn bytes(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }

    /// Writes it to a file.
    pub fn write(self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
    }
}
