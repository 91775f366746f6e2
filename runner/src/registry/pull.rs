//! From a registry into the store.
//!
//! ```text
//!  tag ──> index ── platform ──> manifest ──> configuration ──> diff ids
//!                                    └─ layers, three at once: there already, or
//!                                       lock ─ Blob ─ Store::add_layer (unpacks, checks the diff id)
//!  all there ──> image ──> names NAME:TAG and NAME@DIGEST
//! ```

use super::blob::Blob;
use super::client::Client;
use super::digest::Digest;
use super::fetch::{Fetched, Repository};
use super::known::{Known, place};
use super::manifest::{self, Descriptor, Document, Manifest};
use super::platform::Platform;
use super::progress::{Item, Progress};
use super::{RegistryError, crew};
use crate::image::{ImageId, Layer, Limits, OciConfig, Reference, Store};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest configuration that is read, in bytes; what the store takes.
const LONGEST_CONFIG: u64 = 8 << 20;

/// One pull.
#[derive(Debug)]
pub struct Pull<'a> {
    /// Where to.
    pub store: &'a Store,
    /// Where from.
    pub client: &'a Client,
    /// Which image of several; this machine's kind if `None`.
    pub platform: Option<Platform>,
    /// Who is told.
    pub progress: &'a Progress,
}

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Of the manifest or index that the name means.
    pub digest: Digest,
    /// The image.
    pub id: ImageId,
    /// Whether the name meant another image before, or none.
    pub newer: bool,
    /// The image's kind of machine, if it is not the wanted one.
    pub other_platform: Option<Platform>,
}

/// What every part of a pull needs.
struct Work<'a> {
    repository: Repository<'a>,
    reference: &'a Reference,
    known: Known,
    stop: AtomicBool,
}

impl Pull<'_> {
    /// Fetches an image and gives it its name.
    ///
    /// # Errors
    /// What cannot be fetched, or is not what it should be; a full disk. Names stay what they were.
    pub fn run(&self, reference: &Reference) -> Result<Pulled, RegistryError> {
        let (_, name) = reference.place();
        let scope = format!("repository:{name}:pull");
        let work = Work {
            repository: Repository {
                client: self.client,
                name: &name,
                scope: &scope,
            },
            reference,
            known: Known::of(self.store),
            stop: AtomicBool::new(false),
        };
        let what = reference.to_string();
        let top = work
            .repository
            .document(reference.digest().unwrap_or(reference.tag()), &what)?;
        let digest = top.digest.clone();
        let (fetched, manifest) = self.manifest(&work, top)?;
        let shown = if reference.digest().is_some() {
            digest.as_str()
        } else {
            reference.tag()
        };
        self.progress
            .line(format_args!("{shown}: Pulling from {name}"));
        let config = self.blob(&work, &manifest.config, format!("configuration of {what}"))?;
        let config = config.whole(LONGEST_CONFIG)?;
        let (diff_ids, other_platform) = self.check(&work, &config, &manifest)?;
        let layers = crew::each(diff_ids.len(), &work.stop, |at| {
            self.layer(&work, &diff_ids[at], &manifest.layers[at])
        })?;
        let before = self.store.find(&what).ok().map(|record| record.id);
        self.store.merge(&diff_ids, 0)?;
        let id = self.store.create_exact(&config)?;
        if reference.digest().is_none() {
            self.store.tag(&id, reference)?;
        }
        self.store.tag(&id, &reference.at_digest(digest.hex()))?;
        drop(layers);
        work.known.keep(&id, &fetched.kind, &fetched.bytes)?;
        work.known.prune(self.store);
        Ok(Pulled {
            digest,
            newer: before.as_ref() != Some(&id),
            id,
            other_platform,
        })
    }

    /// All tags of a name's repository.
    ///
    /// # Errors
    /// The registry does not tell them.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let (_, name) = reference.place();
        let repository = Repository {
            client: self.client,
            name: &name,
            scope: &format!("repository:{name}:pull"),
        };
        repository.tags(reference.name())
    }

    /// The manifest itself, by way of an index or not.
    fn manifest(
        &self,
        work: &Work<'_>,
        top: Fetched,
    ) -> Result<(Fetched, Manifest), RegistryError> {
        let what = work.reference.to_string();
        let wrong = |why: String| RegistryError::Wrong {
            what: what.clone(),
            why,
        };
        let members = match &top.document {
            Document::Manifest(manifest) => {
                let manifest = manifest.clone();
                return Ok((top, manifest));
            }
            Document::Index(members) => members,
        };
        let platform = self.platform.clone().unwrap_or_else(Platform::own);
        let chosen =
            manifest::choose(members, &platform).ok_or_else(|| RegistryError::Platform {
                what: what.clone(),
                platform: platform.to_string(),
                there: manifest::platforms(members),
            })?;
        let fetched = work.repository.document(chosen.digest.as_str(), &what)?;
        if fetched.bytes.len() as u64 != chosen.size {
            let came = fetched.bytes.len();
            return Err(wrong(format!(
                "its manifest has {came} bytes, but its index says {}",
                chosen.size
            )));
        }
        match &fetched.document {
            Document::Manifest(manifest) => {
                let manifest = manifest.clone();
                Ok((fetched, manifest))
            }
            Document::Index(_) => Err(wrong("an index within an index".to_owned())),
        }
    }

    fn blob<'a>(
        &self,
        work: &'a Work<'_>,
        wanted: &Descriptor,
        what: String,
    ) -> Result<Blob<'a>, RegistryError> {
        let Repository {
            client,
            name,
            scope,
        } = work.repository;
        Ok(Blob::new(client, name, scope, wanted, what))
    }

    /// Diff ids of the layers as 64 digits; the image's platform if it is not the wanted one.
    fn check(
        &self,
        work: &Work<'_>,
        config: &[u8],
        manifest: &Manifest,
    ) -> Result<(Vec<String>, Option<Platform>), RegistryError> {
        let what = work.reference.to_string();
        let wrong = |why: String| RegistryError::Wrong {
            what: what.clone(),
            why,
        };
        let config: OciConfig = serde_json::from_slice(config)
            .map_err(|e| wrong(format!("its configuration cannot be read: {e}")))?;
        let (said, there) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if said != there {
            return Err(wrong(format!(
                "its configuration tells of {said} layers, its manifest of {there}"
            )));
        }
        let digits = |id: &String| {
            let digest = Digest::parse(id)
                .ok_or_else(|| wrong("a diff id is no digest of sha256".to_owned()));
            digest.map(|digest| digest.hex().to_owned())
        };
        let diff_ids = config
            .rootfs
            .diff_ids
            .iter()
            .map(digits)
            .collect::<Result<_, _>>()?;
        let own = Platform {
            os: config.os,
            architecture: config.architecture,
            variant: config.variant,
        };
        let wanted = self.platform.clone().unwrap_or_else(Platform::own);
        let fits = own.os.is_empty() || wanted.fits(&own).is_some();
        match (&self.platform, fits) {
            (_, true) => Ok((diff_ids, None)),
            (None, false) => Ok((diff_ids, Some(own))),
            (Some(platform), false) => Err(RegistryError::Platform {
                what,
                platform: platform.to_string(),
                there: super::error::tame(&own.to_string()),
            }),
        }
    }

    /// Brings one layer into the store.
    fn layer(
        &self,
        work: &Work<'_>,
        diff_id: &str,
        wanted: &Descriptor,
    ) -> Result<Layer, RegistryError> {
        let item = self.progress.layer(wanted.digest.short());
        let place = place(self.client.host().name(), work.repository.name);
        let there = |item: Item, layer: Layer| {
            item.ends("Already exists");
            work.known.learn(diff_id, wanted, &place).map(|()| layer)
        };
        if let Some(layer) = self.store.layer(diff_id)? {
            return there(item, layer);
        }
        item.says("Pulling fs layer");
        let _alone = work.known.lock(diff_id)?;
        // Somebody else may have fetched it while we waited.
        if let Some(layer) = self.store.layer(diff_id)? {
            return there(item, layer);
        }
        item.counts("Downloading", wanted.size);
        let what = format!("layer {} of {}", wanted.digest.short(), work.reference);
        let mut stream = Stream {
            blob: self.blob(work, wanted, what.clone())?,
            item: &item,
            stop: &work.stop,
            ended: false,
        };
        let fault = stream.blob.fault();
        let added = self
            .store
            .add_layer(&mut stream, &what, Some(diff_id), Limits::default());
        let layer = match added {
            Ok(added) => added.layer,
            Err(error) => return Err(fault.take().unwrap_or_else(|| error.into())),
        };
        item.ends("Pull complete");
        work.known.learn(diff_id, wanted, &place)?;
        Ok(layer)
    }
}

/// A blob whose bytes are shown as they pass.
struct Stream<'a> {
    blob: Blob<'a>,
    item: &'a Item,
    stop: &'a AtomicBool,
    ended: bool,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped, since another layer failed"));
        }
        let read = self.blob.read(buffer)?;
        self.item.advance(read as u64);
        if read == 0 && !buffer.is_empty() && !self.ended {
            self.ended = true;
            self.item.says("Download complete");
        }
        Ok(read)
    }
}
