//! Manifests and indexes: what an image consists of, read strictly.
//!
//! Understood are OCI's manifest and index, and docker's manifest (version 2, schema 2) and list. A
//! document that could be read as both kinds, or says another kind than it was sent as, is refused:
//! two readers would see two images under one digest (CVE-2021-41190).

use super::digest::Digest;
use super::error::tame;
use super::platform::Platform;
use serde::{Deserialize, Serialize};

/// Longest document that is read, in bytes; what registries take at most.
pub(super) const LONGEST: u64 = 4 << 20;

/// Most layers of an image.
const MOST_LAYERS: usize = 500;

/// Most images of an index.
const MOST_IMAGES: usize = 2000;

/// Longest layer, in bytes: what does not fit there is no size.
const LARGEST: u64 = 1 << 44;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Layers that may lie elsewhere, which we never fetch.
const FOREIGN: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// Layers as we read them.
const LAYERS: [&str; 6] = [
    OCI_GZIP,
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    DOCKER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// All kinds of documents, as `Accept` lists them.
pub(super) const KINDS: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// A reference to something by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) size: u64,
    #[serde(serialize_with = "shown")]
    pub(super) digest: Digest,
}

fn shown<S: serde::Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(digest.as_str())
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    /// Lowest first.
    pub(super) layers: Vec<Descriptor>,
}

/// One image of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) descriptor: Descriptor,
    pub(super) platform: Option<Platform>,
}

/// A document of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Vec<Member>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Document {
    /// Reads a document; `sent_as` is its `Content-Type`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(bytes: &[u8], sent_as: Option<&str>) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| format!("no manifest: {e}"))?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(
                "a manifest of schema 1, which is too old: it must be pushed anew".to_owned(),
            );
        }
        if raw.schema_version != Some(2) {
            return Err("no manifest: schemaVersion 2 is wanted".to_owned());
        }
        let index = match (
            raw.manifests.is_some(),
            raw.layers.is_some() || raw.config.is_some(),
        ) {
            (true, true) => return Err("both a manifest and an index at once".to_owned()),
            (false, false) => return Err("neither a manifest nor an index".to_owned()),
            (index, _) => index,
        };
        let sent_as = sent_as.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
        for kind in sent_as.into_iter().chain(raw.media_type.as_deref()) {
            check_kind(kind, index)?;
        }
        let known = sent_as.filter(|sent| KINDS.contains(sent));
        match (known, raw.media_type.as_deref()) {
            (Some(sent), Some(own)) if sent != own => {
                return Err(format!("sent as {sent}, but says it is {}", tame(own)));
            }
            _ => {}
        }
        match (raw.manifests, raw.config, raw.layers) {
            (Some(members), _, _) => members_of(members).map(Self::Index),
            (None, Some(config), layers) => {
                manifest(config, layers.unwrap_or_default()).map(Self::Manifest)
            }
            (None, None, _) => Err("a manifest without a configuration".to_owned()),
        }
    }
}

/// What a sound manifest is sent as: as it came, as it calls itself, or as OCI's.
pub(super) fn kind_of(bytes: &[u8], sent_as: Option<&str>) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
    }
    let sent_as = sent_as.map(|kind| kind.split(';').next().unwrap_or(kind).trim().to_owned());
    let own = || serde_json::from_slice::<Kind>(bytes).ok()?.media_type;
    let known = |kind: &String| KINDS.contains(&kind.as_str());
    let kind = sent_as.filter(known).or_else(|| own().filter(known));
    kind.unwrap_or_else(|| OCI_MANIFEST.to_owned())
}

/// Whether a document may call itself that.
fn check_kind(kind: &str, index: bool) -> Result<(), String> {
    let of_index = [OCI_INDEX, DOCKER_LIST].contains(&kind);
    let of_manifest = [OCI_MANIFEST, DOCKER_MANIFEST].contains(&kind);
    // Plain servers send files as this.
    let says_nothing = [
        "",
        "application/json",
        "application/octet-stream",
        "text/plain",
    ]
    .contains(&kind);
    match index {
        _ if says_nothing => Ok(()),
        true if of_index => Ok(()),
        false if of_manifest => Ok(()),
        _ if of_index || of_manifest => Err(format!(
            "called {kind}, but is {}",
            if index { "an index" } else { "a manifest" }
        )),
        _ => Err(format!("of unknown kind {}", tame(kind))),
    }
}

fn manifest(config: RawDescriptor, layers: Vec<RawDescriptor>) -> Result<Manifest, String> {
    if layers.len() > MOST_LAYERS {
        return Err(format!(
            "{} layers; the most is {MOST_LAYERS}",
            layers.len()
        ));
    }
    let config = descriptor(config)?;
    if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
        return Err(format!(
            "no image of a container, but {}",
            tame(&config.media_type)
        ));
    }
    let layers = layers.into_iter().map(|layer| {
        let layer = descriptor(layer)?;
        match layer.media_type.as_str() {
            kind if FOREIGN.contains(&kind) => Err(format!(
                "layer {} lies elsewhere ({kind}); such layers are not fetched",
                layer.digest.short()
            )),
            kind if LAYERS.contains(&kind) => Ok(layer),
            kind => Err(format!(
                "layer {} is of unknown kind {}",
                layer.digest.short(),
                tame(kind)
            )),
        }
    });
    Ok(Manifest {
        config,
        layers: layers.collect::<Result<_, _>>()?,
    })
}

fn members_of(members: Vec<RawDescriptor>) -> Result<Vec<Member>, String> {
    if members.len() > MOST_IMAGES {
        return Err(format!(
            "{} images; the most is {MOST_IMAGES}",
            members.len()
        ));
    }
    let member = |mut raw: RawDescriptor| {
        let platform = raw
            .platform
            .take()
            .filter(|platform| !platform.os.is_empty());
        Ok(Member {
            platform: platform.map(|platform| Platform {
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant,
            }),
            descriptor: descriptor(raw)?,
        })
    };
    members.into_iter().map(member).collect()
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor, String> {
    let digest = Digest::parse(&raw.digest)
        .ok_or_else(|| format!("{:?} is no digest of sha256", tame(&raw.digest)))?;
    if raw.urls.is_some_and(|urls| !urls.is_empty()) {
        return Err(format!(
            "{} lies at an address elsewhere; such content is not fetched",
            digest.short()
        ));
    }
    if raw.size > LARGEST {
        return Err(format!(
            "{} has {} bytes, which is too many",
            digest.short(),
            raw.size
        ));
    }
    Ok(Descriptor {
        media_type: raw.media_type,
        size: raw.size,
        digest,
    })
}

/// The member of an index that fits a platform best, the first of several.
pub(super) fn choose<'a>(members: &'a [Member], platform: &Platform) -> Option<&'a Descriptor> {
    if let [
        Member {
            descriptor,
            platform: None,
        },
    ] = members
    {
        return Some(descriptor);
    }
    let fit = |member: &Member| {
        member
            .platform
            .as_ref()
            .and_then(|other| platform.fits(other))
    };
    let best = members.iter().filter_map(fit).max()?;
    let first = members.iter().find(|member| fit(member) == Some(best))?;
    Some(&first.descriptor)
}

/// The platforms of an index, for a message.
pub(super) fn platforms(members: &[Member]) -> String {
    let known = |member: &Member| {
        let platform = member
            .platform
            .as_ref()
            .filter(|platform| platform.os != "unknown")?;
        Some(tame(&platform.to_string()))
    };
    let mut all: Vec<_> = members.iter().filter_map(known).take(20).collect();
    all.dedup();
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join(", ")
    }
}

/// A layer's kind in OCI's words, or in docker's.
pub(super) fn layer_kind(kind: &str, oci: bool) -> String {
    let packed = match kind {
        kind if kind.contains("zstd") => "zstd",
        kind if kind.ends_with("gzip") => "gzip",
        _ => "",
    };
    let plain = if oci {
        "application/vnd.oci.image.layer.v1.tar"
    } else {
        "application/vnd.docker.image.rootfs.diff.tar"
    };
    match (packed, oci) {
        ("", _) => plain.to_owned(),
        (packed, true) => format!("{plain}+{packed}"),
        (packed, false) => format!("{plain}.{packed}"),
    }
}

/// A manifest in docker's form, or in OCI's.
pub(super) fn write(kind: &str, config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'a> {
        schema_version: u32,
        media_type: &'a str,
        config: &'a Descriptor,
        layers: &'a [Descriptor],
    }
    let written = Written {
        schema_version: 2,
        media_type: kind,
        config,
        layers,
    };
    // Docker's own layout, three spaces and all. Nothing in it can fail to become JSON.
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut to = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    if written.serialize(&mut to).is_err() {
        bytes.clear();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn digest(n: u8) -> String {
        Digest::of(&[n]).to_string()
    }

    fn sound() -> Value {
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest(0), "size": 3},
            "layers": [{"mediaType": OCI_GZIP, "digest": digest(1), "size": 9}]})
    }

    fn parse(value: &Value, sent_as: Option<&str>) -> Result<Document, String> {
        Document::parse(value.to_string().as_bytes(), sent_as)
    }

    fn with(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = sound();
        change(&mut value);
        value
    }

    #[test]
    fn a_sound_manifest() {
        for sent_as in [
            None,
            Some(OCI_MANIFEST),
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
            Some("application/json"),
        ] {
            let Document::Manifest(manifest) = parse(&sound(), sent_as).unwrap() else {
                panic!("an index?")
            };
            assert_eq!((manifest.config.size, manifest.layers.len()), (3, 1));
        }
        let untold = with(|v| drop(v.as_object_mut().unwrap().remove("mediaType")));
        assert!(parse(&untold, Some(DOCKER_MANIFEST)).is_ok());
    }

    #[test]
    fn what_is_refused() {
        let index = json!([{"mediaType": OCI_MANIFEST, "digest": digest(2), "size": 1}]);
        let layer = |key: &str, value: Value| with(|v| v["layers"][0][key] = value);
        for (value, sent_as, why) in [
            (with(|v| v["manifests"] = index.clone()), None, "both"),
            (sound(), Some(OCI_INDEX), "but is a manifest"),
            (sound(), Some(DOCKER_MANIFEST), "sent as"),
            (sound(), Some("text/html"), "unknown kind"),
            (
                with(|v| v["mediaType"] = json!(OCI_INDEX)),
                None,
                "but is a manifest",
            ),
            (with(|v| v["schemaVersion"] = json!(1)), None, "too old"),
            (json!({"schemaVersion": 2}), None, "neither"),
            (
                json!({"schemaVersion": 2, "layers": []}),
                None,
                "without a configuration",
            ),
            (
                layer("digest", json!("sha256:../../../etc/passwd")),
                None,
                "no digest",
            ),
            (
                layer("digest", json!(format!("sha512:{}", "0".repeat(128)))),
                None,
                "no digest",
            ),
            (layer("size", json!(-1)), None, "no manifest"),
            (layer("size", json!(u64::MAX)), None, "too many"),
            (
                layer("urls", json!(["https://elsewhere.example/x"])),
                None,
                "elsewhere",
            ),
            (layer("mediaType", json!(FOREIGN[0])), None, "not fetched"),
            (
                layer("mediaType", json!("application/x\n")),
                None,
                "unknown kind application/x",
            ),
            (
                with(|v| v["config"]["mediaType"] = json!("application/vnd.cncf.helm")),
                None,
                "no image of a container",
            ),
            (
                with(|v| v["layers"] = Value::Array(vec![v["layers"][0].clone(); 501])),
                None,
                "501 layers",
            ),
            (json!([]), None, "no manifest"),
        ] {
            let error = parse(&value, sent_as).unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let twice = br#"{"schemaVersion":2,"config":null,"layers":[],"layers":[]}"#;
        assert!(Document::parse(twice, None).is_err());
    }

    #[test]
    fn the_member_that_fits() {
        let one = |n: u8, os: &str, architecture: &str, variant: &str| {
            json!({"mediaType": OCI_MANIFEST, "digest": digest(n), "size": 1,
                "platform": {"os": os, "architecture": architecture, "variant": variant}})
        };
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            one(0, "unknown", "unknown", ""), one(1, "linux", "arm", "v6"), one(2, "linux", "arm", "v7"),
            one(3, "linux", "amd64", ""), one(4, "linux", "amd64", "")]});
        let Document::Index(members) = parse(&index, Some(OCI_INDEX)).unwrap() else {
            panic!("a manifest?")
        };
        let chosen = |text: &str| {
            let platform = Platform::parse(text).unwrap();
            choose(&members, &platform).map(|descriptor| descriptor.digest.to_string())
        };
        assert_eq!(chosen("linux/amd64"), Some(digest(3)));
        assert_eq!(chosen("linux/arm"), Some(digest(2)));
        assert_eq!(chosen("linux/arm/v6"), Some(digest(1)));
        assert_eq!(chosen("linux/s390x"), None);
        assert_eq!(
            platforms(&members),
            "linux/arm/v6, linux/arm/v7, linux/amd64"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let Document::Manifest(manifest) = parse(&sound(), None).unwrap() else {
            panic!("an index?")
        };
        let bytes = write(OCI_MANIFEST, &manifest.config, &manifest.layers);
        let again = Document::parse(&bytes, Some(OCI_MANIFEST));
        assert_eq!(again, Ok(Document::Manifest(manifest)));
    }
}
