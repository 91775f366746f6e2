//! Benches of layerfs and runner: what they measure on.
//!
//! ```text
//!   Stack::new(form, layers, files)     the same names whatever the form and the number of layers
//!     directories    layer0/ … layerN/
//!     packed         layer0.lfs … layerN.lfs
//!     merged         all.idx of these
//! ```
#![allow(clippy::unwrap_used)] // a bench without its fixture is no bench

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use layerfs::layer::packed::{Limits, Pack, merge, pack};
use layerfs::ops::FileSystem;
use layerfs::types::{Config, Metacopy, NodeId};
use tempfile::TempDir;

/// Directories on the way to the file [`DEEP`] names.
pub const DEPTH: usize = 8;

/// Names of a deep path.
pub const DEEP: [&str; DEPTH + 1] = [
    "level0", "level1", "level2", "level3", "level4", "level5", "level6", "level7", "leaf",
];

/// Files in each directory of [`Stack::new`].
pub const IN_ONE: usize = 1000;

/// What the layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Directories.
    Directories,
    /// Packed layers.
    Packed,
    /// One merged index of packed layers.
    Merged,
}

/// All of them.
pub const FORMS: [Form; 3] = [Form::Directories, Form::Packed, Form::Merged];

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directories => "directories",
            Self::Packed => "packed",
            Self::Merged => "merged",
        })
    }
}

/// A stack of layers.
#[derive(Debug)]
pub struct Stack {
    /// What a mount gets, topmost first.
    pub lowers: Vec<PathBuf>,
    _directory: TempDir,
}

impl Stack {
    /// Files `dirNNN/fileNNNNNN`, a thousand to a directory, dealt out to the layers one by one: each layer
    /// has all directories, as `usr/lib` comes in each layer of an image. And a deep path, which has its
    /// directories in all layers, its file in the lowest.
    pub fn new(form: Form, layers: usize, files: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: String| directory.path().join(name);
        let tree = |layer: usize| {
            let own = (0..files).filter(move |file| file % layers == layer);
            let directories = (0..files.div_ceil(IN_ONE)).map(directory_of);
            (directories, own.map(path_of), layer + 1 == layers)
        };
        let lowers: Vec<PathBuf> = match form {
            Form::Directories => {
                let write = |layer: usize| {
                    let to = at(format!("layer{layer}"));
                    let (directories, files, lowest) = tree(layer);
                    let deep: PathBuf = DEEP[..DEPTH].iter().collect();
                    std::fs::create_dir_all(to.join(&deep)).unwrap();
                    directories.for_each(|path| std::fs::create_dir(to.join(path)).unwrap());
                    files.for_each(|path| drop(File::create(to.join(path)).unwrap()));
                    if lowest {
                        File::create(to.join(deep).join(DEEP[DEPTH])).unwrap();
                    }
                    to
                };
                (0..layers).map(write).collect()
            }
            Form::Packed | Form::Merged => {
                let write = |layer: usize| {
                    let to = at(format!("layer{layer}.lfs"));
                    let (directories, files, lowest) = tree(layer);
                    let mut tar = Archive::default();
                    for end in 1..=DEPTH {
                        tar.directory(&DEEP[..end].join("/"));
                    }
                    directories.for_each(|path| tar.directory(&path));
                    files.for_each(|path| tar.file(&path, b""));
                    if lowest {
                        tar.file(&DEEP.join("/"), b"");
                    }
                    pack_to(&tar.bytes(), &to);
                    to
                };
                (0..layers).map(write).collect()
            }
        };
        let lowers = match form {
            Form::Merged => vec![merge_to(&lowers, &directory.path().join("all.idx"))],
            _ => lowers,
        };
        Self {
            lowers,
            _directory: directory,
        }
    }

    /// The file system over it, as a mount has it.
    pub fn open(&self) -> FileSystem {
        let config = Config {
            lowers: self.lowers.clone(),
            upper: None,
            read_only: true,
            volatile: false,
            trust_redirect: false,
            metacopy: Metacopy::default(),
            noatime: true,
        };
        FileSystem::open(&config).unwrap()
    }
}

/// The directory of that number.
pub fn directory_of(number: usize) -> String {
    format!("dir{number:03}")
}

/// The name of a file in its directory.
pub fn name_of(file: usize) -> String {
    format!("file{file:06}")
}

/// The path of a file.
pub fn path_of(file: usize) -> String {
    format!("{}/{}", directory_of(file / IN_ONE), name_of(file))
}

/// Looks a path up, name by name, and takes all lookups but the last back.
pub fn walk<'a>(files: &FileSystem, names: impl IntoIterator<Item = &'a str>) -> NodeId {
    let mut at = NodeId::ROOT;
    for name in names {
        let next = files.lookup(at, OsStr::new(name)).unwrap().node;
        files.forget(at, u64::from(at != NodeId::ROOT));
        at = next;
    }
    at
}

/// Packs an archive.
pub fn pack_to(archive: &[u8], to: &Path) {
    let mut file = File::create(to).unwrap();
    pack(archive, "bench", &mut file, Limits::default()).unwrap();
}

/// Merges packed layers, topmost first.
pub fn merge_to(layers: &[PathBuf], to: &Path) -> PathBuf {
    let packs: Vec<Pack> = layers
        .iter()
        .map(|path| Pack::open(path).unwrap())
        .collect();
    let mut file = File::create(to).unwrap();
    merge(&packs, to.parent().unwrap(), &mut file).unwrap();
    to.to_owned()
}

/// An archive that is made in memory.
#[allow(missing_debug_implementations)] // the builder has none
pub struct Archive(tar::Builder<Vec<u8>>);

impl Default for Archive {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Archive {
    /// A directory.
    pub fn directory(&mut self, path: &str) {
        self.put(path, tar::EntryType::Directory, 0o755, b"");
    }

    /// A regular file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.put(path, tar::EntryType::Regular, 0o644, content);
    }

    fn put(&mut self, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
    }

    /// Its bytes.
    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// The bytes, packed by flate2 as registries have them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let fast = flate2::Compression::default();
    let mut to = flate2::write::GzEncoder::new(Vec::new(), fast);
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}
