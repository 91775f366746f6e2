//! `runner build`: an image by a Dockerfile.

use super::make::plain_labels;
use super::{output, pull};
use crate::build::cache::Cache;
use crate::build::ignore::Ignore;
use crate::build::make::Plan;
use crate::build::parse;
use crate::build::stage::Workshop;
use crate::container::builds::Build;
use crate::container::transfer::{How, unpack};
use crate::error::{Error, Result};
use crate::image::{Reference, Store};
use crate::network::Source;
use crate::registry::{download, is_address};
use archive::{Packing, is_tar, start_of};
use rustix::fs::{Mode, OFlags};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufReader, Cursor, Read, Seek, stdin};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Most bytes of a Dockerfile.
const LONGEST: u64 = 8 << 20;

/// Most bytes of a secret, as with docker.
const LONGEST_SECRET: u64 = 500 << 10;

/// Most bytes of a context that is fetched.
const LARGEST_CONTEXT: u64 = 1 << 40;

/// Arguments of `build`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The context is a directory, or - for standard input, or an address of http or https: a tar archive (plain, gzip, zstd, xz, bzip2), or a Dockerfile alone.
What an instruction made of the same layers and sources is taken from the cache; times of files do not count.
RUN has the isolation of runner run, but programs may gain rights in it (sudo).

Examples:
  runner build -t app .
  runner build -t app:debug -f Dockerfile.debug --target build --build-arg VERSION=3 .
  tar c . | runner build -t app -
  printf 'FROM debian\\nRUN apt-get update' | runner build -t updated -"
)]
pub(super) struct Args {
    /// The name to give to the image: NAME[:TAG]
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// The Dockerfile; - for standard input (CONTEXT/Dockerfile)
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// A value for an ARG; without one, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Build this stage and those it needs only
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Use nothing of the cache
    #[arg(long)]
    no_cache: bool,
    /// Fetch images even if they are there
    #[arg(long)]
    pull: bool,
    /// Set a label of the image
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// A file for RUN --mount=type=secret, in no layer: id=ID[,src=FILE|,env=NAME]
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// The network of RUN: default, none, host, or a network's name
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    network: String,
    /// How to tell what happens: auto and plain (lines), quiet
    #[arg(long, value_name = "FORM", default_value = "auto")]
    progress: String,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print the image's id only
    #[arg(short, long)]
    quiet: bool,
    /// A directory, an address of an archive, or -
    #[arg(value_name = "CONTEXT")]
    context: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let quiet = match args.progress.as_str() {
        "auto" | "plain" => args.quiet,
        "quiet" => true,
        other => {
            return Err(Error::Value {
                flag: "--progress",
                value: other.to_owned(),
                why: "want auto, plain or quiet".to_owned(),
            });
        }
    };
    let names = args.tag.iter().map(|name| name.parse::<Reference>());
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let network = match args.network.as_str() {
        "default" => "bridge",
        other => other,
    };
    let network = Source::parse(&[network.to_owned()])?;
    let store = Store::open(root)?;
    let build = Build::begin(&home)?;
    let input = input(args, &build)?;
    let (instructions, escape) = parse(&input.text).map_err(|fault| {
        Error::Refused(format!("build: {}", fault.show(&input.name, &input.text)))
    })?;
    let given = build_args(&args.build_arg)?;
    let labels = plain_labels(&args.label)?;
    // Pulled once, so that all of a build sees one image.
    let pulled = RefCell::new(BTreeSet::new());
    let provide = |name: &str| {
        let first = pulled.borrow_mut().insert(name.to_owned());
        pull::provide(&store, name, args.pull && first)
    };
    let plan = Plan {
        instructions: &instructions,
        args: &given,
        target: args.target.as_deref(),
        labels: &labels,
    };
    let mut tell = |line: &str| {
        if !quiet {
            // A reader that is gone is told by the end's own line.
            let _ = output::print(&format_args!("{line}\n"));
        }
    };
    let mut shop = Workshop {
        home: &home,
        build: &build,
        store: &store,
        provide: &provide,
        cache: Cache::open(&store, !args.no_cache, build.scratch()),
        context: input.context,
        network,
        secrets: secrets(&args.secret)?,
        fetched: BTreeMap::new(),
        loud: !quiet,
        escape,
        tell: &mut tell,
    };
    for name in plan.unused() {
        output::warn(&format_args!(
            "WARNING: build argument {name} is not used by the Dockerfile"
        ));
    }
    let id = plan.run(&mut shop)?;
    for name in &names {
        store.tag(&id, name)?;
    }
    if let Some(path) = &args.iidfile {
        fs::write(path, format!("sha256:{id}")).map_err(Error::io("write", path))?;
    }
    if quiet {
        return output::print(&format_args!("sha256:{id}\n"));
    }
    let mut text = format!("Successfully built {}\n", &id[..12]);
    for name in &names {
        text.push_str(&format!("Successfully tagged {name}\n"));
    }
    output::print(&text)
}

/// What is built from.
struct Input {
    text: String,
    /// Of the Dockerfile, for messages.
    name: String,
    context: Option<(OwnedFd, Ignore)>,
}

fn input(args: &Args, build: &Build) -> Result<Input> {
    let from_stdin = args.file.as_deref() == Some("-");
    if args.context == "-" {
        if from_stdin {
            let why = "the context and the Dockerfile cannot both come from standard input";
            return Err(Error::Usage(why.to_owned()));
        }
        return whole(args, build, stdin().lock(), "standard input");
    }
    if is_address(&args.context) && !args.context.ends_with(".git") && !args.context.contains('#') {
        let place = build.place("download");
        let mut how = fs::File::options();
        let file = how.read(true).write(true).create_new(true).open(&place);
        let file = file.map_err(Error::io("make", &place))?;
        let mut file = download(&args.context, None, LARGEST_CONTEXT, file)?.file;
        file.rewind().map_err(Error::io("rewind", &place))?;
        return whole(args, build, file, &args.context);
    }
    if args.context.contains("://") || args.context.starts_with("git@") {
        return Err(Error::Usage(format!(
            "build {}: only archives of http and https are fetched; clone it and give the directory",
            args.context
        )));
    }
    let directory = Path::new(&args.context);
    let context = open_context(directory)?;
    let (text, name) = if from_stdin {
        (
            text_of(stdin(), "standard input")?,
            "standard input".to_owned(),
        )
    } else {
        let file = args.file.as_deref();
        let inside = directory.join(file.unwrap_or("Dockerfile"));
        let path = match file.map(Path::new) {
            Some(path) if path.exists() => path.to_owned(),
            _ => inside,
        };
        let name = path.display().to_string();
        let file = fs::File::open(&path).map_err(Error::io("open the Dockerfile", &path))?;
        (text_of(file, &name)?, name)
    };
    Ok(Input {
        text,
        name,
        context: Some(context),
    })
}

fn open_context(directory: &Path) -> Result<(OwnedFd, Ignore)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty());
    let opened = opened.map_err(|e| Error::io("open the build context", directory)(e.into()))?;
    let path = directory.join(".dockerignore");
    let ignore = match fs::read_to_string(&path) {
        Ok(text) => {
            let parsed = Ignore::parse(&text);
            parsed.map_err(|why| Error::Refused(format!("build: {}: {why}", path.display())))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ignore::default(),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    Ok((opened, ignore))
}

/// A context as an archive, or a Dockerfile alone.
fn whole(args: &Args, build: &Build, mut from: impl Read, origin: &str) -> Result<Input> {
    let unread = |error| Error::io("read", origin)(error);
    let start = start_of(&mut from).map_err(unread)?;
    let packing = Packing::of(&start);
    let text = packing == Packing::Plain && !is_tar(&start);
    let whole = BufReader::new(Cursor::new(start).chain(from));
    if text {
        return Ok(Input {
            text: text_of(whole, origin)?,
            name: origin.to_owned(),
            context: None,
        });
    }
    let place = build.context();
    fs::create_dir(&place).map_err(Error::io("make", &place))?;
    let inflated = packing.open(whole);
    let inflated = inflated.map_err(unread)?;
    let how = How {
        keep_owners: true,
        ..How::default()
    };
    unpack(inflated, &place, how)
        .map_err(|why| Error::Refused(format!("build: the context on {origin}: {why}")))?;
    let path = place.join(args.file.as_deref().unwrap_or("Dockerfile"));
    let inside = path
        .canonicalize()
        .is_ok_and(|real| real.starts_with(&place));
    let name = args.file.clone().unwrap_or_else(|| "Dockerfile".to_owned());
    if !inside {
        let why = format!("build: the context on {origin} has no file {name}");
        return Err(Error::Refused(why));
    }
    let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
    Ok(Input {
        text: text_of(file, &name)?,
        name,
        context: Some(open_context(&place)?),
    })
}

fn text_of(from: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(Error::io("read", name))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::Refused(format!(
            "build: {name}: more than {LONGEST} bytes"
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::Refused(format!("build: {name}: not a text in UTF-8")))
}

/// `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID` for the variable of that name, else the file.
fn secrets(texts: &[String]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let bad = |why: String| Error::Value {
            flag: "--secret",
            value: text.clone(),
            why,
        };
        let (mut id, mut file, mut variable) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value),
                Some(("src" | "source", value)) => file = Some(value),
                Some(("env", value)) => variable = Some(value),
                Some(("type", "file" | "env")) => {}
                _ => return Err(bad("want id=ID[,src=FILE|,env=NAME]".to_owned())),
            }
        }
        let id = id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| bad("id= is missing".to_owned()))?;
        let known = match (file, variable) {
            (None, None) => std::env::var_os(id),
            (_, Some(name)) => {
                let value = std::env::var_os(name);
                Some(value.ok_or_else(|| bad(format!("there is no variable {name}")))?)
            }
            (Some(_), None) => None,
        };
        let bytes = match known {
            Some(value) => value.into_encoded_bytes(),
            None => secret_file(file.unwrap_or(id)).map_err(bad)?,
        };
        secrets.insert(id.to_owned(), bytes);
    }
    Ok(secrets)
}

fn secret_file(path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot read {path}: {error}"))?;
    match bytes.len() as u64 > LONGEST_SECRET {
        true => Err(format!("{path}: more than {LONGEST_SECRET} bytes")),
        false => Ok(bytes),
    }
}

fn build_args(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut args = BTreeMap::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err(Error::Value {
                flag: "--build-arg",
                value: text.clone(),
                why: "want NAME or NAME=VALUE".to_owned(),
            });
        }
        args.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(args)
}
