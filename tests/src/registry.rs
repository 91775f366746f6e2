//! Images as registries keep them, and Debian's `docker-registry` to keep them in.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::httpd::{Reply, Request};
use crate::process::{self, Output, Running, wait_until};
use crate::scratch::Scratch;

/// Kind of OCI's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Kind of OCI's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Kind of OCI's configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Kind of OCI's layer, not packed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// `sha256:` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{digits}")
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// By flate2.
    Gzip,
    /// By the machine's zstd.
    Zstd,
}

/// An image in OCI's form, made by the tests alone.
#[derive(Debug, Clone)]
pub struct Image {
    /// The configuration, whose digest is the image's id.
    pub config: Vec<u8>,
    /// Packed layers, lowest first, with their kinds.
    pub layers: Vec<(Vec<u8>, String)>,
    /// The manifest of all of it.
    pub manifest: Vec<u8>,
}

impl Image {
    /// An image of uncompressed archives for a kind of processor.
    pub fn new(archives: &[Vec<u8>], packing: Packing, architecture: &str) -> Self {
        let diff_ids: Vec<_> = archives.iter().map(|archive| digest(archive)).collect();
        let config = json!({"architecture": architecture, "os": "linux",
            "config": {"Env": ["PATH=/bin", "FROM=registry"], "Cmd": ["/bin/tool"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "x-unknown": "kept"});
        let layers = archives
            .iter()
            .map(|archive| pack(archive, packing))
            .collect();
        Self::of(config.to_string().into_bytes(), layers)
    }

    /// An image of its parts, with a manifest that names them.
    pub fn of(config: Vec<u8>, layers: Vec<(Vec<u8>, String)>) -> Self {
        let mut image = Self {
            config,
            layers,
            manifest: Vec::new(),
        };
        image.manifest = image.document().to_string().into_bytes();
        image
    }

    /// The manifest as JSON, to be changed.
    pub fn document(&self) -> Value {
        let layer = |(bytes, kind): &(Vec<u8>, String)| descriptor(bytes, kind);
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(&self.config, OCI_CONFIG),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>()})
    }

    /// The id: 64 digits.
    pub fn id(&self) -> String {
        digest(&self.config)["sha256:".len()..].to_owned()
    }

    /// An honest registry's answer, for any repository and tag.
    pub fn serve(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap();
        if path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if path.contains("/manifests/") {
            let kind = "content-type";
            return Reply::new(200, self.manifest.clone()).header(kind, OCI_MANIFEST);
        }
        let blobs = self
            .layers
            .iter()
            .map(|(bytes, _)| bytes)
            .chain([&self.config]);
        for bytes in blobs {
            if path.ends_with(&digest(bytes)) {
                return match request.range() {
                    Some(start) => {
                        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                        Reply::new(206, &bytes[start..]).header("content-range", range)
                    }
                    None => Reply::new(200, bytes.clone()),
                };
            }
        }
        Reply::new(
            404,
            r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#,
        )
    }

    /// Writes images as an OCI layout: each with its tag, or all of them as one index.
    pub fn layout(images: &[(&str, &Image)], as_index: bool, to: &Path) {
        let blobs = to.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put =
            |bytes: &[u8]| fs::write(blobs.join(&digest(bytes)["sha256:".len()..]), bytes).unwrap();
        let mut entries = Vec::new();
        for (name, image) in images {
            image.layers.iter().for_each(|(bytes, _)| put(bytes));
            put(&image.config);
            put(&image.manifest);
            let mut entry = descriptor(&image.manifest, OCI_MANIFEST);
            if as_index {
                entry["platform"] = json!({"os": "linux", "architecture": name});
            } else {
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            }
            entries.push(entry);
        }
        if as_index {
            let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
            let index = index.to_string().into_bytes();
            put(&index);
            let mut entry = descriptor(&index, OCI_INDEX);
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": "all"});
            entries = vec![entry];
        }
        let top = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(to.join("index.json"), top.to_string()).unwrap();
        fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// A descriptor of some content.
pub fn descriptor(bytes: &[u8], kind: &str) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

/// Packs an archive; its bytes and its kind.
pub fn pack(archive: &[u8], packing: Packing) -> (Vec<u8>, String) {
    match packing {
        Packing::None => (archive.to_vec(), OCI_LAYER.to_owned()),
        Packing::Gzip => {
            let fast = flate2::Compression::fast();
            let mut to = flate2::write::GzEncoder::new(Vec::new(), fast);
            to.write_all(archive).unwrap();
            (to.finish().unwrap(), format!("{OCI_LAYER}+gzip"))
        }
        Packing::Zstd => {
            let mut zstd = Command::new("zstd");
            let out = process::run_with(zstd.args(["-q", "-c"]), archive, process::LIMIT);
            assert_eq!(out.code, 0, "{out}");
            (out.stdout, format!("{OCI_LAYER}+zstd"))
        }
    }
}

/// An archive of a directory in the form of layers, by the machine's tar.
pub fn archive(directory: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"]);
    let out = process::run(tar.arg(directory).args(["-c", "."]));
    assert_eq!(out.code, 0, "{out}");
    out.stdout
}

/// A `docker-registry` with a store of its own, on a free port. Ended when dropped.
#[derive(Debug)]
pub struct Registry {
    _process: Running,
    /// `127.0.0.1:PORT`.
    pub host: String,
    log: PathBuf,
}

impl Registry {
    /// Starts one in a new directory of the scratch; `more` goes into its configuration.
    pub fn start(scratch: &Scratch, more: &str) -> Self {
        Self::start_in(scratch, "docker-registry", more)
    }

    /// The same in a directory of that name, to have several.
    pub fn start_in(scratch: &Scratch, name: &str, more: &str) -> Self {
        let directory = scratch.dir(name);
        let (config, log) = (directory.join("config.yml"), directory.join("log"));
        let store = directory.join("store");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{more}",
            store.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null());
        command
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap());
        let mut process = Running::start(&mut command);
        let mut port = None;
        wait_until(Duration::from_secs(60), || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            port = listening(&text);
            port.is_some() || process.0.try_wait().unwrap().is_some()
        });
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let port = port.unwrap_or_else(|| panic!("docker-registry does not listen: {}", said()));
        Self {
            _process: process,
            host: format!("127.0.0.1:{port}"),
            log,
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// `skopeo copy`, to and from registries without TLS.
pub fn skopeo_copy(args: &[&str]) -> Output {
    let mut command = Command::new("skopeo");
    command.args([
        "--insecure-policy",
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]);
    process::run(command.args(args))
}

/// The port that the registry says it listens on.
fn listening(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}
