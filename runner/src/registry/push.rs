//! From the store to a registry.
//!
//! ```text
//!  each layer, three at once:  there already (HEAD) │ taken over from another repository (mount) │
//!                              packed with gzip while it is sent
//!  configuration ──> manifest, the one that came with the image if its layers are the same ones
//! ```
//!
//! Packing is deterministic (no time, no name, one level), so that a layer has the same digest
//! whenever it is packed here.

use super::client::{Ask, Client};
use super::digest::Digest;
use super::known::{Known, Seen, place};
use super::manifest::{self, Descriptor, Document};
use super::progress::{Item, Progress};
use super::upload::{Mounted, Session, Target};
use super::{RegistryError, crew};
use crate::image::{Layer, Reference, Store};
use flate2::{Compression, GzBuilder};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use ureq::http::{Method, StatusCode, header};

/// How often an upload that the registry has lost is begun anew.
const UPLOADS: u32 = 3;

/// How many packed forms of a layer are asked for before it is sent.
const CANDIDATES: usize = 3;

/// One push.
#[derive(Debug)]
pub struct Push<'a> {
    /// Where from.
    pub store: &'a Store,
    /// Where to.
    pub client: &'a Client,
    /// Who is told.
    pub progress: &'a Progress,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Of the manifest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What every part of a push needs.
struct Work<'a> {
    name: &'a str,
    scope: &'a str,
    reference: &'a Reference,
    known: Known,
    stop: AtomicBool,
}

impl Push<'_> {
    /// Brings an image to where its name says.
    ///
    /// # Errors
    /// No such image; the registry does not take it.
    pub fn run(&self, reference: &Reference) -> Result<Pushed, RegistryError> {
        let (_, name) = reference.place();
        let scope = format!("repository:{name}:pull,push");
        let work = Work {
            name: &name,
            scope: &scope,
            reference,
            known: Known::of(self.store),
            stop: AtomicBool::new(false),
        };
        let record = self.store.find(&reference.to_string())?;
        let config = self.store.config_bytes(&record.id)?;
        let held = record
            .layers
            .iter()
            .map(|id| self.hold(id))
            .collect::<Result<Vec<_>, _>>()?;
        let layers = crew::each(held.len(), &work.stop, |at| self.layer(&work, &held[at]))?;
        self.config(&work, &config)?;
        let (kind, bytes) = document(&work.known, &record.id, &config, &layers);
        let pushed = self.manifest(&work, &kind, &bytes)?;
        work.known.keep(&record.id, &kind, &bytes)?;
        self.store
            .tag(&record.id, &reference.at_digest(pushed.digest.hex()))?;
        work.known.prune(self.store);
        Ok(pushed)
    }

    fn hold(&self, diff_id: &str) -> Result<Layer, RegistryError> {
        self.store
            .layer(diff_id)?
            .ok_or_else(|| RegistryError::Wrong {
                what: format!("layer {diff_id}"),
                why: "it is missing in the store".to_owned(),
            })
    }

    /// Sees to it that the registry has a layer; gives its packed form there.
    fn layer(&self, work: &Work<'_>, layer: &Layer) -> Result<Descriptor, RegistryError> {
        let short = layer.diff_id.get(..12).unwrap_or(&layer.diff_id);
        let item = self.progress.layer(short);
        item.says("Preparing");
        let what = format!("layer {short} of {}", work.reference);
        let target = self.target(work, &what, work.scope);
        let here = place(self.client.host().name(), work.name);
        let seen = work.known.blobs(&layer.diff_id);
        let (blob, state) = match self.there(&target, &here, &seen)? {
            Some(blob) => (blob, "Layer already exists".to_owned()),
            None => match self.taken_over(work, &what, &seen)? {
                (Some((blob, from)), _) => (blob, format!("Mounted from {from}")),
                (None, session) => {
                    let blob = self.sent(work, &target, layer, session, &item)?;
                    (blob, "Pushed".to_owned())
                }
            },
        };
        item.ends(&state);
        work.known.learn(&layer.diff_id, &blob, &here)?;
        Ok(blob)
    }

    fn target<'a>(&'a self, work: &'a Work<'_>, what: &'a str, scope: &'a str) -> Target<'a> {
        Target {
            client: self.client,
            repository: work.name,
            scope,
            what,
        }
    }

    /// A packed form that the repository has, those that were seen there first.
    fn there(
        &self,
        target: &Target<'_>,
        here: &str,
        seen: &[Seen],
    ) -> Result<Option<Descriptor>, RegistryError> {
        let (own, others): (Vec<_>, Vec<_>) = seen
            .iter()
            .partition(|seen| seen.places.iter().any(|place| place == here));
        for seen in own.into_iter().chain(others).take(CANDIDATES) {
            if target.has(&seen.blob.digest)? {
                return Ok(Some(seen.blob.clone()));
            }
        }
        Ok(None)
    }

    /// Takes over a packed form from another repository of the same registry: the form and where
    /// from, or an upload that the registry has begun instead.
    #[allow(clippy::type_complexity)]
    fn taken_over(
        &self,
        work: &Work<'_>,
        what: &str,
        seen: &[Seen],
    ) -> Result<(Option<(Descriptor, String)>, Option<Session>), RegistryError> {
        let prefix = format!("{}/", self.client.host().name());
        let places = seen.iter().flat_map(|seen| {
            seen.places
                .iter()
                .rev()
                .map(move |place| (&seen.blob, place))
        });
        let ours = places.filter_map(|(blob, place)| Some((blob, place.strip_prefix(&prefix)?)));
        let mut session = None;
        for (blob, from) in ours.filter(|(_, from)| *from != work.name).take(CANDIDATES) {
            let scope = format!("{} repository:{from}:pull", work.scope);
            match self
                .target(work, what, &scope)
                .begin(Some((&blob.digest, from)))
            {
                Ok(Mounted::Yes) => return Ok((Some((blob.clone(), from.to_owned())), None)),
                Ok(Mounted::No(begun)) => session = Some(begun),
                // Who may not read there sends it himself.
                Err(RegistryError::Denied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((None, session))
    }

    /// Packs a layer while it is sent.
    fn sent(
        &self,
        work: &Work<'_>,
        target: &Target<'_>,
        layer: &Layer,
        mut session: Option<Session>,
        item: &Item,
    ) -> Result<Descriptor, RegistryError> {
        for _ in 0..UPLOADS {
            let session = match session.take() {
                Some(session) => session,
                None => begin(target)?,
            };
            let (archive, length) = self.store.archive(layer)?;
            item.counts("Pushing", length);
            let shown = Shown {
                from: archive,
                item,
                stop: &work.stop,
            };
            let packer = GzBuilder::new().mtime(0).operating_system(255);
            let mut packed = packer.read(shown, Compression::new(6));
            if let Some((digest, size)) = target.send(session, &mut packed)? {
                return Ok(Descriptor {
                    media_type: manifest::DOCKER_GZIP.to_owned(),
                    size,
                    digest,
                });
            }
        }
        Err(lost(self.client, target.what))
    }

    fn config(&self, work: &Work<'_>, config: &[u8]) -> Result<(), RegistryError> {
        let what = format!("configuration of {}", work.reference);
        let target = self.target(work, &what, work.scope);
        if target.has(&Digest::of(config))? {
            return Ok(());
        }
        for _ in 0..UPLOADS {
            if target.send(begin(&target)?, &mut &config[..])?.is_some() {
                return Ok(());
            }
        }
        Err(lost(self.client, &what))
    }

    fn manifest(&self, work: &Work<'_>, kind: &str, bytes: &[u8]) -> Result<Pushed, RegistryError> {
        let what = work.reference.to_string();
        let digest = Digest::of(bytes);
        let at = format!("/v2/{}/manifests/{}", work.name, work.reference.tag());
        let ask = Ask::new(Method::PUT, at, work.scope, &what)
            .header(header::CONTENT_TYPE, kind)
            .body(bytes);
        let response = self.client.send(&ask)?;
        let wanted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.client.expect(response, &what, &wanted)?;
        let told = response
            .headers()
            .get("docker-content-digest")
            .and_then(|told| told.to_str().ok());
        if let Some(told) =
            told.filter(|told| told.starts_with("sha256:") && *told != digest.as_str())
        {
            return Err(RegistryError::Wrong {
                what,
                why: format!(
                    "sent as {digest}, but the registry calls it {}",
                    super::error::tame(told)
                ),
            });
        }
        Ok(Pushed {
            digest,
            size: bytes.len() as u64,
        })
    }
}

fn begin(target: &Target<'_>) -> Result<Session, RegistryError> {
    match target.begin(None)? {
        Mounted::No(session) => Ok(session),
        Mounted::Yes => Err(RegistryError::Wrong {
            what: target.what.to_owned(),
            why: "the registry says that it has what was not named yet".to_owned(),
        }),
    }
}

fn lost(client: &Client, what: &str) -> RegistryError {
    RegistryError::Broken {
        what: what.to_owned(),
        registry: client.host().name().to_owned(),
        times: UPLOADS,
        why: "the registry has lost the upload".to_owned(),
    }
}

/// The manifest that goes with the layers: the one that came, or a new one of docker's kind (of
/// OCI's, if a layer is packed as only that knows).
fn document(known: &Known, id: &str, config: &[u8], layers: &[Descriptor]) -> (String, Vec<u8>) {
    if let Some((kind, bytes)) = known.manifest(id) {
        let digests = |layers: &[Descriptor]| {
            layers
                .iter()
                .map(|layer| layer.digest.clone())
                .collect::<Vec<_>>()
        };
        match Document::parse(&bytes, Some(&kind)) {
            Ok(Document::Manifest(kept))
                if digests(&kept.layers) == digests(layers)
                    && kept.config.digest == Digest::of(config) =>
            {
                return (kind, bytes);
            }
            _ => {}
        }
    }
    let oci = layers.iter().any(|layer| layer.media_type.contains("zstd"));
    let (kind, config_kind) = match oci {
        true => (manifest::OCI_MANIFEST, manifest::OCI_CONFIG),
        false => (manifest::DOCKER_MANIFEST, manifest::DOCKER_CONFIG),
    };
    let layer = |layer: &Descriptor| Descriptor {
        media_type: manifest::layer_kind(&layer.media_type, oci),
        ..layer.clone()
    };
    let config = Descriptor {
        media_type: config_kind.to_owned(),
        size: config.len() as u64,
        digest: Digest::of(config),
    };
    let layers: Vec<_> = layers.iter().map(layer).collect();
    (kind.to_owned(), manifest::write(kind, &config, &layers))
}

/// A layer's bytes that are shown as they pass.
struct Shown<'a, R> {
    from: R,
    item: &'a Item,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Shown<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped, since another layer failed"));
        }
        let read = self.from.read(buffer)?;
        self.item.advance(read as u64);
        Ok(read)
    }
}
