//! Images as one archive: docker's form and OCI's at once, as docker itself writes it.
//!
//! ```text
//!   blobs/sha256/DIFFID      each layer once, the uncompressed archive's exact bytes
//!   blobs/sha256/ID          each image's configuration, exact bytes
//!   blobs/sha256/…           each image's OCI manifest
//!   index.json  oci-layout   OCI
//!   manifest.json            docker
//! ```
//!
//! The same images give the same bytes.

use super::documents::{
    CONFIG, Descriptor, DockerImage, FULL_NAME, INDEX, Index, LAYER, MANIFEST, Manifest, REF_NAME,
};
use super::error::io;
use super::record::digest;
use super::{Image, ImageError, Reference, Store};
use archive::{Meta, WriteError, Writer};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;

/// An archive under construction.
struct Saving<'a, W> {
    store: &'a Store,
    writer: Writer<W>,
    /// Digests of the blobs that are in.
    blobs: BTreeSet<String>,
    docker: Vec<DockerImage>,
    index: Index,
}

impl Store {
    /// Writes images (names, or ids, which then have no name in the archive) as one archive.
    ///
    /// # Errors
    /// An unknown image; `host` or a directory, which have no archive; what cannot be read or written.
    pub fn save(&self, names: &[String], to: impl Write) -> Result<(), ImageError> {
        let mut images = BTreeMap::<String, (Image, Vec<Reference>)>::new();
        for name in names {
            let image = self.resolve(name)?;
            let Some(id) = image.id.clone() else {
                return Err(ImageError::Name {
                    name: name.clone(),
                    why: "it is no stored image; import it first".to_owned(),
                });
            };
            let record = self.find(name)?;
            let own = name.parse::<Reference>().ok();
            let own = own.filter(|own| record.names.contains(own) && own.digest().is_none());
            let entry = images.entry(id).or_insert((image, Vec::new()));
            entry.1.extend(own);
        }
        let mut saving = Saving {
            store: self,
            writer: Writer::new(to),
            blobs: BTreeSet::new(),
            docker: Vec::new(),
            index: Index {
                schema_version: 2,
                media_type: INDEX.to_owned(),
                manifests: Vec::new(),
            },
        };
        let written = saving.directories();
        written.map_err(failed)?;
        for (image, names) in images.values() {
            saving.image(image, names)?;
        }
        saving.finish()
    }
}

fn failed(error: WriteError) -> ImageError {
    match error {
        WriteError::Read(error) => io("read", Path::new("a layer"))(error),
        WriteError::Write(error) => io("write", Path::new("the archive"))(error),
    }
}

fn path_of(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn meta(mode: u32) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

impl<W: Write> Saving<'_, W> {
    fn directories(&mut self) -> Result<(), WriteError> {
        self.writer.directory(b"blobs", &meta(0o755))?;
        self.writer.directory(b"blobs/sha256", &meta(0o755))
    }

    fn image(&mut self, image: &Image, names: &[Reference]) -> Result<(), ImageError> {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let (archive, length) = self.store.archive(layer)?;
            layers.push(self.blob(&layer.diff_id, LAYER, length, archive)?);
        }
        let id = image.id.as_deref().unwrap_or_default();
        let bytes = self.store.config_bytes(id)?;
        let config = self.blob(id, CONFIG, bytes.len() as u64, &bytes[..])?;
        self.docker.push(DockerImage {
            config: path_of(id),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(ToString::to_string).collect()),
            layers: image.layers.iter().map(|l| path_of(&l.diff_id)).collect(),
        });
        let manifest = json(&Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config,
            layers,
        })?;
        let length = manifest.len() as u64;
        let mut descriptor = self.blob(&digest(&manifest), MANIFEST, length, &manifest[..])?;
        for name in names {
            let (host, repository) = name.place();
            let full = format!("{host}/{repository}:{}", name.tag());
            let names = [(FULL_NAME, full), (REF_NAME, name.tag().to_owned())];
            descriptor.annotations = names.map(|(key, value)| (key.to_owned(), value)).into();
            self.index.manifests.push(descriptor.clone());
        }
        if names.is_empty() {
            self.index.manifests.push(descriptor);
        }
        Ok(())
    }

    /// Adds a blob unless it is in.
    fn blob(
        &mut self,
        digest: &str,
        media_type: &str,
        size: u64,
        from: impl Read,
    ) -> Result<Descriptor, ImageError> {
        if self.blobs.insert(digest.to_owned()) {
            let path = path_of(digest);
            let written = self
                .writer
                .contents(path.as_bytes(), &meta(0o644), size, from);
            written.map_err(failed)?;
        }
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{digest}"),
            size,
            annotations: BTreeMap::new(),
            platform: None,
        })
    }

    fn finish(mut self) -> Result<(), ImageError> {
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        let files = [
            ("index.json", json(&self.index)?),
            ("manifest.json", json(&self.docker)?),
            ("oci-layout", layout),
        ];
        for (name, bytes) in files {
            let size = bytes.len() as u64;
            let written = self
                .writer
                .contents(name.as_bytes(), &meta(0o644), size, &bytes[..]);
            written.map_err(failed)?;
        }
        self.writer.finish().map_err(failed)?;
        Ok(())
    }
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(document).map_err(|error| ImageError::Input {
        origin: "the archive".to_owned(),
        why: error.to_string(),
    })
}
