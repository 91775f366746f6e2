//! `runner pull`: an image from a registry.

use super::output;
use crate::error::{Error, Result};
use crate::image::{Image, ImageError, Reference, Store};
use crate::registry::{Client, DockerConfig, Host, Platform, Progress, Pull, Pulled, To};
use std::path::Path;

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Names without a host are docker.io's. Credentials are those of `runner login` and `docker login`.

Examples:
  runner pull debian:12
  runner pull --platform linux/arm64 alpine
  runner pull localhost:5000/name@sha256:…"
)]
pub(super) struct Args {
    /// Pull all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// The kind of machine that the image is for: OS/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the image's name only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pub(super) registry: Registry,
    /// The image: NAME[:TAG|@DIGEST]
    #[arg(value_name = "NAME")]
    name: String,
}

/// How registries are talked with.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Registry {
    /// Whether to check the registry's certificate; without, plain http will do, too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

impl Registry {
    /// Where a registry is.
    pub(super) fn host(&self, name: &str) -> Host {
        Host::new(name, self.tls_verify)
    }

    /// The registry of a name, with the user's credentials.
    pub(super) fn client(&self, reference: &Reference) -> Result<Client> {
        let (host, _) = reference.place();
        let secret = DockerConfig::open()?.find(host)?;
        Ok(Client::open(self.host(host), secret)?)
    }
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let reference: Reference = args.name.parse()?;
    let platform = parse_platform(args.platform.as_deref())?;
    output::open_home(root)?;
    let store = Store::open(root)?;
    let progress = Progress::new(if args.quiet { To::Nowhere } else { To::Stdout });
    if args.all_tags && (has_tag(&args.name) || reference.digest().is_some()) {
        return Err(Error::Value {
            flag: "--all-tags",
            value: args.name.clone(),
            why: "all tags are pulled of a name without a tag".to_owned(),
        });
    }
    if !args.all_tags && !has_tag(&args.name) && reference.digest().is_none() {
        progress.line("Using default tag: latest");
    }
    let client = args.registry.client(&reference)?;
    let pull = Pull {
        store: &store,
        client: &client,
        platform,
        progress: &progress,
    };
    if args.all_tags {
        for tag in pull.tags(&reference)? {
            let reference: Reference = format!("{}:{tag}", reference.name()).parse()?;
            one(&pull, &reference)?;
        }
        return output::print(&format_args!("{}\n", full(&reference, true)));
    }
    one(&pull, &reference)?;
    output::print(&format_args!("{}\n", full(&reference, false)))
}

/// The image of a name, pulled if the store does not know it, or in any case (`always`); a pull is told
/// of on standard error.
pub(super) fn provide(store: &Store, name: &str, always: bool) -> Result<Image> {
    let own = name == "host" || name.starts_with("dir:");
    // What is no name of a registry's cannot be pulled; a whole id, for one.
    let reference: Option<Reference> = name.parse().ok().filter(|_| !own);
    let Some(reference) = reference else {
        return Ok(store.resolve(name)?);
    };
    if !always {
        match store.resolve(name) {
            Err(ImageError::Unknown { .. }) => {}
            // A damaged store is told, not covered up.
            other => return Ok(other?),
        }
        output::warn(&format_args!("Unable to find image '{reference}' locally"));
    }
    let registry = Registry { tls_verify: None };
    let (client, progress) = (registry.client(&reference)?, Progress::new(To::Stderr));
    let pull = Pull {
        store,
        client: &client,
        platform: None,
        progress: &progress,
    };
    one(&pull, &reference)?;
    Ok(store.resolve(name)?)
}

/// Pulls one image, and tells of it as docker does.
pub(super) fn one(pull: &Pull<'_>, reference: &Reference) -> Result<Pulled> {
    let pulled = pull.run(reference)?;
    pull.progress
        .line(format_args!("Digest: {}", pulled.digest));
    let status = if pulled.newer {
        "Downloaded newer image for"
    } else {
        "Image is up to date for"
    };
    pull.progress
        .line(format_args!("Status: {status} {reference}"));
    if let Some(other) = &pulled.other_platform {
        output::warn(&format_args!(
            "WARNING: {reference} is for {other}, this machine is {}",
            Platform::own()
        ));
    }
    Ok(pulled)
}

/// `--platform`.
pub(super) fn parse_platform(text: Option<&str>) -> Result<Option<Platform>> {
    let parse = |text: &str| {
        Platform::parse(text).map_err(|why| Error::Value {
            flag: "--platform",
            value: text.to_owned(),
            why,
        })
    };
    text.map(parse).transpose()
}

/// Whether a name says which tag.
fn has_tag(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
}

/// The name with its registry.
fn full(reference: &Reference, without_tag: bool) -> String {
    let (host, repository) = reference.place();
    match reference.digest() {
        _ if without_tag => format!("{host}/{repository}"),
        Some(digest) => format!("{host}/{repository}@{digest}"),
        None => format!("{host}/{repository}:{}", reference.tag()),
    }
}
