//! Images from an archive of docker's or OCI's form, or from a directory of OCI's.
//!
//! ```text
//!   FILE | - --inflate--> where each member lies ──> manifest.json, or index.json ──> layers ──> images ──> names
//! ```
//!
//! A layer is read once, where it lies. What cannot be sought in (standard input, a compressed file)
//! is kept in the store meanwhile. Nothing that the archive says is believed: the configuration's
//! digest is the image's id, each layer must have the diff id that the configuration names, and blobs
//! the digest and size that they are called by. Names are published last.

use super::documents::{Descriptor, DockerImage, FULL_NAME, Index, Manifest, REF_NAME};
use super::error::io;
use super::layers::Limits;
use super::record::{self, LONGEST, digest, is_id};
use super::scratch::{Scratch, open_directory};
use super::{ImageError, ImageId, Layer, Reference, Store, architecture};
use archive::{Archive, Kind, Packing};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, stdin};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most members of an archive of images.
const MOST_MEMBERS: usize = 100_000;

/// Most links from one member to the next.
const MOST_LINKS: u32 = 8;

/// Most levels of indexes.
const DEEPEST: u32 = 4;

/// What was loaded: an image, and the names it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// 64 hexadecimal digits.
    pub id: ImageId,
    /// Maybe none.
    pub names: Vec<Reference>,
}

/// The files of the archive, by path.
struct Files {
    origin: String,
    kind: Form,
    /// Keeps what was spooled.
    _spool: Option<Scratch>,
}

enum Form {
    Archive {
        file: Arc<File>,
        members: HashMap<Vec<u8>, Place>,
    },
    Directory(OwnedFd),
}

/// Where a member's data is.
#[derive(Debug, Clone)]
enum Place {
    /// Offset and length.
    Here(u64, u64),
    /// Where another one is.
    Link(Vec<u8>),
}

/// What a file holds, and its length in bytes.
type Data = (Box<dyn Read + Send>, u64);

/// A part of a file.
struct Part {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Store {
    /// Loads all images of an archive: a file, a directory, or standard input where there is none.
    ///
    /// # Errors
    /// What is no such archive, is damaged or contradicts itself; a full disk. Images before the bad one
    /// stay; of that one, nothing is published.
    pub fn load(&self, source: Option<&Path>) -> Result<Vec<Loaded>, ImageError> {
        let files = Files::open(self, source)?;
        let docker = files.json::<Vec<DockerImage>>("manifest.json")?;
        if let Some(images) = docker {
            let load = |image: &DockerImage| self.load_docker(&files, image);
            return images.iter().map(load).collect();
        }
        let Some(index) = files.json::<Index>("index.json")? else {
            let why = "no archive of images: it has neither manifest.json nor index.json";
            return Err(files.wrong(why));
        };
        let mut found = Vec::new();
        self.load_index(&files, &index, &[], DEEPEST, &mut found)?;
        match found.is_empty() {
            true => Err(files.wrong(&format!("no image in it is for linux/{}", architecture()))),
            false => Ok(found),
        }
    }

    fn load_docker(&self, files: &Files, image: &DockerImage) -> Result<Loaded, ImageError> {
        let config = files.bytes(&image.config)?;
        let config = config.ok_or_else(|| files.missing(&image.config))?;
        let diff_ids = files.diff_ids(&config)?;
        if diff_ids.len() != image.layers.len() {
            let (many, few) = (diff_ids.len(), image.layers.len());
            return Err(files.wrong(&format!(
                "{many} layers by configuration, {few} by manifest"
            )));
        }
        let mut held = Vec::new();
        for (path, diff_id) in image.layers.iter().zip(&diff_ids) {
            held.push(self.load_layer(files, path, diff_id)?);
        }
        let names = image.repo_tags.iter().flatten().map(|name| name.parse());
        let names = names.collect::<Result<Vec<Reference>, _>>()?;
        self.publish(&config, names, held)
    }

    /// Loads what an index names for this machine.
    fn load_index(
        &self,
        files: &Files,
        index: &Index,
        names: &[Reference],
        depth: u32,
        found: &mut Vec<Loaded>,
    ) -> Result<(), ImageError> {
        for descriptor in &index.manifests {
            let ours = |p: &super::documents::Platform| {
                p.os == "linux" && p.architecture == architecture()
            };
            if descriptor.platform.as_ref().is_some_and(|p| !ours(p)) {
                continue;
            }
            let own = name(&descriptor.annotations);
            let names = if own.is_empty() { names.to_vec() } else { own };
            let bytes = files.blob(descriptor)?;
            let text = |e: serde_json::Error| files.wrong(&format!("{}: {e}", descriptor.digest));
            let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(text)?;
            match (
                value.get("manifests").is_some(),
                value.get("layers").is_some(),
            ) {
                (true, false) if depth > 0 => {
                    let index = serde_json::from_value(value).map_err(text)?;
                    self.load_index(files, &index, &names, depth - 1, found)?;
                }
                (false, true) => {
                    let manifest: Manifest = serde_json::from_value(value).map_err(text)?;
                    let config = files.blob(&manifest.config)?;
                    let loaded = self.load_manifest(files, &manifest, &config, names)?;
                    match found.iter_mut().find(|one| one.id == loaded.id) {
                        Some(one) => one.names.extend(loaded.names),
                        None => found.push(loaded),
                    }
                }
                _ => {
                    let why = format!("{} is neither an index nor a manifest", descriptor.digest);
                    return Err(files.wrong(&why));
                }
            }
        }
        Ok(())
    }

    fn load_manifest(
        &self,
        files: &Files,
        manifest: &Manifest,
        config: &[u8],
        names: Vec<Reference>,
    ) -> Result<Loaded, ImageError> {
        let diff_ids = files.diff_ids(config)?;
        if diff_ids.len() != manifest.layers.len() {
            let (many, few) = (diff_ids.len(), manifest.layers.len());
            return Err(files.wrong(&format!(
                "{many} layers by configuration, {few} by manifest"
            )));
        }
        let mut held = Vec::new();
        for (blob, diff_id) in manifest.layers.iter().zip(&diff_ids) {
            let path = files.path(blob)?;
            let layer = self.load_layer(files, &path, diff_id)?;
            held.push(layer);
        }
        self.publish(config, names, held)
    }

    fn load_layer(&self, files: &Files, path: &str, diff_id: &str) -> Result<Layer, ImageError> {
        if let Some(layer) = self.layer(diff_id)? {
            return Ok(layer);
        }
        let (data, _) = files.data(path)?.ok_or_else(|| files.missing(path))?;
        let origin = format!("{}: {path}", files.origin);
        let added = self.add_layer(data, &origin, Some(diff_id), Limits::default())?;
        Ok(added.layer)
    }

    fn publish(
        &self,
        config: &[u8],
        names: Vec<Reference>,
        held: Vec<Layer>,
    ) -> Result<Loaded, ImageError> {
        let layers: Vec<String> = held.iter().map(|layer| layer.diff_id.clone()).collect();
        self.merge(&layers, 0)?;
        let id = self.create_exact(config)?;
        for name in &names {
            self.tag(&id, name)?;
        }
        drop(held);
        Ok(Loaded { id, names })
    }
}

/// The names that annotations give to an image.
fn name(annotations: &std::collections::BTreeMap<String, String>) -> Vec<Reference> {
    let full = annotations
        .get(FULL_NAME)
        .and_then(|name| name.parse().ok());
    // Some write a tag alone here, which names nothing.
    let other = || {
        let name = annotations.get(REF_NAME)?;
        let whole = name.contains(['/', ':']);
        whole.then(|| name.parse().ok()).flatten()
    };
    full.or_else(other).into_iter().collect()
}

impl Files {
    fn open(store: &Store, source: Option<&Path>) -> Result<Self, ImageError> {
        let origin = match source {
            Some(path) => format!("load {}", path.display()),
            None => "load standard input".to_owned(),
        };
        if let Some(path) = source.filter(|path| path.is_dir()) {
            return Ok(Self {
                origin,
                kind: Form::Directory(open_directory(path)?),
                _spool: None,
            });
        }
        let input: Box<dyn Read> = match source {
            Some(path) => Box::new(File::open(path).map_err(io("open", path))?),
            None => Box::new(stdin()),
        };
        let mut input = BufReader::with_capacity(256 << 10, input);
        let unread = |e: std::io::Error| refused(&origin, &e.to_string());
        let packing = Packing::of(input.fill_buf().map_err(unread)?);
        let seekable = source.filter(|path| path.is_file() && packing == Packing::Plain);
        let (file, spool) = match seekable {
            Some(path) => (File::open(path).map_err(io("open", path))?, None),
            None => {
                let inflated = packing.open(input).map_err(unread)?;
                let (file, scratch) = spool(store, inflated, &origin)?;
                (file, Some(scratch))
            }
        };
        let members = members(&file, &origin)?;
        Ok(Self {
            origin,
            kind: Form::Archive {
                file: Arc::new(file),
                members,
            },
            _spool: spool,
        })
    }

    /// A file's data and length; `None` when there is no such file.
    fn data(&self, path: &str) -> Result<Option<Data>, ImageError> {
        match &self.kind {
            Form::Directory(root) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let failed = |why: std::io::Error| self.wrong(&format!("{path}: {why}"));
                let file = match openat2(root, path, flags, Mode::empty(), resolve) {
                    Ok(fd) => File::from(fd),
                    Err(rustix::io::Errno::NOENT) => return Ok(None),
                    Err(errno) => return Err(failed(errno.into())),
                };
                let meta = file.metadata().map_err(failed)?;
                if !meta.is_file() {
                    return Err(self.wrong(&format!("{path}: not a file")));
                }
                Ok(Some((Box::new(file), meta.len())))
            }
            Form::Archive { file, members } => {
                let mut name = clean(path.as_bytes());
                for _ in 0..MOST_LINKS {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Place::Link(target)) => name.clone_from(target),
                        Some(&Place::Here(at, left)) => {
                            let file = Arc::clone(file);
                            return Ok(Some((Box::new(Part { file, at, left }), left)));
                        }
                    }
                }
                Err(self.wrong(&format!("{path}: links in a circle")))
            }
        }
    }

    /// A document's bytes; `None` when there is no such file.
    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some((data, length)) = self.data(path)? else {
            return Ok(None);
        };
        if length > LONGEST {
            return Err(self.wrong(&format!("{path}: {length} bytes; the most is {LONGEST}")));
        }
        let mut bytes = Vec::new();
        let read = data.take(LONGEST).read_to_end(&mut bytes);
        read.map_err(|e| self.wrong(&format!("{path}: {e}")))?;
        Ok(Some(bytes))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ImageError> {
        let Some(bytes) = self.bytes(path)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&bytes);
        parsed
            .map(Some)
            .map_err(|e| self.wrong(&format!("{path}: {e}")))
    }

    /// A document by its digest, which it must have.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let path = self.path(descriptor)?;
        let bytes = self.bytes(&path)?.ok_or_else(|| self.missing(&path))?;
        if format!("sha256:{}", digest(&bytes)) != descriptor.digest {
            return Err(self.wrong(&format!("{path}: it is sha256:{}", digest(&bytes))));
        }
        if bytes.len() as u64 != descriptor.size {
            let (is, said) = (bytes.len(), descriptor.size);
            return Err(self.wrong(&format!("{path}: {is} bytes; {said} were announced")));
        }
        Ok(bytes)
    }

    fn path(&self, descriptor: &Descriptor) -> Result<String, ImageError> {
        let digits = descriptor
            .digest
            .strip_prefix("sha256:")
            .filter(|digits| is_id(digits));
        let digits = digits.ok_or_else(|| {
            self.wrong(&format!(
                "{:?} is no digest; want sha256:",
                descriptor.digest
            ))
        })?;
        Ok(format!("blobs/sha256/{digits}"))
    }

    fn diff_ids(&self, config: &[u8]) -> Result<Vec<String>, ImageError> {
        let config = record::parse_config(config);
        let ids = config.and_then(|config| record::diff_ids(&config));
        ids.map_err(|why| self.wrong(&format!("image configuration: {why}")))
    }

    fn missing(&self, path: &str) -> ImageError {
        self.wrong(&format!("{path} is named, but not there"))
    }

    fn wrong(&self, why: &str) -> ImageError {
        refused(&self.origin, why)
    }
}

fn refused(origin: &str, why: &str) -> ImageError {
    ImageError::Input {
        origin: origin.to_owned(),
        why: why.to_owned(),
    }
}

/// Keeps what cannot be sought in.
fn spool(store: &Store, mut from: impl Read, origin: &str) -> Result<(File, Scratch), ImageError> {
    let scratch = Scratch::new(&store.images())?;
    let path: PathBuf = scratch.path().to_owned();
    let mut options = File::options();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let mut file = options.open(&path).map_err(io("create", &path))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                std::io::Write::write_all(&mut file, &buffer[..read]).map_err(io("write", &path))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(refused(origin, &format!("cannot read: {e}"))),
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(io("rewind", &path))?;
    Ok((file, scratch))
}

/// Where each member lies.
fn members(file: &File, origin: &str) -> Result<HashMap<Vec<u8>, Place>, ImageError> {
    let length = file
        .metadata()
        .map_err(|e| refused(origin, &e.to_string()))?
        .len();
    let mut archive = Archive::new(BufReader::with_capacity(256 << 10, file));
    let damaged = |damage: archive::Damage| ImageError::Archive {
        origin: origin.to_owned(),
        offset: damage.offset,
        why: damage.why,
    };
    let mut members = HashMap::new();
    while let Some(member) = archive.next().map_err(damaged)? {
        let path = clean(&member.path);
        let place = match member.kind {
            Kind::File if matches!(&member.extents[..], [] | [(0, _)]) => {
                let stored = member.extents.first().map_or(0, |(_, length)| *length);
                if stored != member.size {
                    continue; // sparse: nobody writes images so
                }
                Place::Here(archive.offset(), stored)
            }
            Kind::HardLink => Place::Link(clean(&member.link)),
            Kind::Symlink => {
                let parent = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
                Place::Link(clean(&[&path[..parent], &member.link].concat()))
            }
            _ => continue,
        };
        if let Place::Here(at, size) = place
            && at.checked_add(size).is_none_or(|end| end > length)
        {
            return Err(refused(origin, "cut short"));
        }
        if members.len() >= MOST_MEMBERS {
            return Err(refused(
                origin,
                &format!("more than {MOST_MEMBERS} members"),
            ));
        }
        members.insert(path, place);
    }
    Ok(members)
}

/// A path without `.`, `..` and doubled slashes; `..` at the top is dropped, since names of members are
/// looked up nowhere else than among members.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_within_an_archive() {
        for (path, wanted) in [
            ("a/layer.tar", "a/layer.tar"),
            ("./a//b", "a/b"),
            ("b/../a/layer.tar", "a/layer.tar"),
            ("../../etc/passwd", "etc/passwd"),
        ] {
            assert_eq!(clean(path.as_bytes()), wanted.as_bytes());
        }
    }
}
