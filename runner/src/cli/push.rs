//! `runner push`: an image to a registry.

use super::output;
use super::pull::Registry;
use crate::error::{Error, Result};
use crate::image::{Reference, Store};
use crate::registry::{Progress, Push, To};
use std::path::Path;

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Where an image goes is in its name: `runner tag debian localhost:5000/debian` first.

Examples:
  runner push localhost:5000/name
  runner push --all-tags registry.example/team/name"
)]
pub(super) struct Args {
    /// Push all tags of the name
    #[arg(short, long)]
    all_tags: bool,
    /// Print the image's name only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: Registry,
    /// The image: NAME[:TAG]
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let reference: Reference = args.name.parse()?;
    let bad = |why: &str| Error::Value {
        flag: "push",
        value: args.name.clone(),
        why: why.to_owned(),
    };
    if reference.digest().is_some() {
        return Err(bad("a digest cannot be given to an image; name a tag"));
    }
    output::open_home(root)?;
    let store = Store::open(root)?;
    let names = if args.all_tags {
        let all = store.list()?.into_iter().flat_map(|record| record.names);
        let same = |other: &Reference| other.name() == reference.name() && other.digest().is_none();
        let mut names: Vec<_> = all.filter(same).collect();
        names.sort();
        names
    } else {
        // Before the registry is asked for anything.
        store.find(&reference.to_string())?;
        vec![reference.clone()]
    };
    if names.is_empty() {
        return Err(bad("no image has that name"));
    }
    let progress = Progress::new(if args.quiet { To::Nowhere } else { To::Stdout });
    let (host, repository) = reference.place();
    progress.line(format_args!(
        "The push refers to repository [{host}/{repository}]"
    ));
    let client = args.registry.client(&reference)?;
    let push = Push {
        store: &store,
        client: &client,
        progress: &progress,
    };
    for name in &names {
        let pushed = push.run(name)?;
        let (tag, digest, size) = (name.tag(), &pushed.digest, pushed.size);
        progress.line(format_args!("{tag}: digest: {digest} size: {size}"));
    }
    match args.quiet {
        true if args.all_tags => output::print(&format_args!("{host}/{repository}\n")),
        true => output::print(&format_args!("{host}/{repository}:{}\n", reference.tag())),
        false => Ok(0),
    }
}
