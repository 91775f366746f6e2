//! `runner cp`: files into a container, or out of it.

use super::output;
use crate::container::files::{Files, Way};
use crate::container::home::Home;
use crate::container::transfer::{Goal, How, Kind, goal, pack, stream, unpack};
use crate::error::{Error, Result};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Arguments of `cp`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "One of the two names a container. A path - is a tar archive at standard input or output.
A directory goes into one that is there, under its own name; SRC/. means what is in it.

Examples:
  runner cp web:/var/log/app.log .
  runner cp conf/. web:/etc/app
  runner cp web:/etc - | tar t"
)]
pub(super) struct Args {
    /// Keep owners
    #[arg(short, long)]
    archive: bool,
    /// Follow a link at the source's end
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing (nothing is said anyway)
    #[arg(short, long, hide = true)]
    quiet: bool,
    /// What is copied
    #[arg(value_name = "[CONTAINER:]SRC")]
    source: String,
    /// Where it goes
    #[arg(value_name = "[CONTAINER:]DST")]
    target: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let how = How {
        follow: args.follow_link,
        keep_owners: args.archive,
    };
    let (source, target) = (split(&args.source), split(&args.target));
    match (source, target) {
        ((None, source), (Some(container), target)) => {
            let target = absolute(target);
            copy(&home, container, |files| {
                copy_in(files, source, &target, how)
            })?;
        }
        ((Some(container), source), (None, target)) => {
            let source = absolute(source);
            copy(&home, container, |files| {
                copy_out(files, &source, target, how)
            })?;
        }
        ((None, _), (None, _)) => {
            let why = "one of the two must be in a container: CONTAINER:PATH";
            return Err(Error::Usage(format!("{why}; see runner cp --help")));
        }
        ((Some(_), _), (Some(_), _)) => {
            let why = "copying between containers is not supported: go over a pipe";
            return Err(Error::Usage(format!("{why}; see runner cp --help")));
        }
    }
    Ok(0)
}

fn copy(home: &Home, container: &str, work: impl FnOnce(&Files) -> Result<()>) -> Result<()> {
    let files = Files::open(home, &home.find(container)?)?;
    let done = work(&files);
    done.and(files.close())
}

/// `CONTAINER:PATH`; a path with a slash before the colon is one of this machine.
fn split(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((container, path)) if !container.is_empty() && !container.contains('/') => {
            (Some(container), path)
        }
        _ => (None, text),
    }
}

/// As docker: paths in a container begin at its root. A `/.` at the end keeps its meaning.
fn absolute(path: &str) -> PathBuf {
    PathBuf::from(format!("/{}", path.trim_start_matches('/')))
}

fn refused(why: String) -> Error {
    Error::Refused(format!("cp: {why}"))
}

/// What is at a path inside, and at the path above it.
fn kinds_inside(files: &Files, path: &Path, follow: bool) -> Result<(Kind, Kind)> {
    let mut helper = files.helper(Way::Out, |mut pipe| {
        let kind = Kind::of(path, follow).code();
        let parent = path
            .parent()
            .map_or(Kind::Directory, |path| Kind::of(path, true))
            .code();
        pipe.write_all(&[kind, parent])
            .map_err(|error| error.to_string())
    })?;
    let mut codes = [0; 2];
    let read = helper.pipe.read_exact(&mut codes);
    helper.finish()?.map_err(refused)?;
    read.map_err(Error::system("listen to the helper"))?;
    Ok((Kind::from_code(codes[0]), Kind::from_code(codes[1])))
}

fn copy_in(files: &Files, source: &str, target: &Path, how: How) -> Result<()> {
    if source == "-" {
        if kinds_inside(files, target, true)?.0 != Kind::Directory {
            return Err(refused(format!("{}: no such directory", target.display())));
        }
        let mut helper = files.helper(Way::In, |pipe| {
            unpack(
                pipe,
                target,
                How {
                    keep_owners: true,
                    ..how
                },
            )
        })?;
        let copied = io::copy(&mut io::stdin().lock(), &mut helper.pipe);
        helper.finish()?.map_err(refused)?;
        return copied.map(drop).map_err(Error::system("read the archive"));
    }
    let source = Path::new(source);
    let kind = Kind::of(source, how.follow);
    let (there, parent) = kinds_inside(files, target, true)?;
    let goal = goal((source, kind), (target, there), parent).map_err(refused)?;
    let helper = files.helper(Way::In, |pipe| unpack(pipe, &goal.directory, how))?;
    let packed = pack(source, goal.name.as_deref(), how, &helper.pipe);
    // A helper that gave up says why; that nobody read the rest is no news then.
    helper.finish()?.map_err(refused)?;
    packed.map_err(refused)
}

fn copy_out(files: &Files, source: &Path, target: &str, how: How) -> Result<()> {
    let (kind, _) = kinds_inside(files, source, how.follow)?;
    let stdout = target == "-";
    let goal = if stdout {
        if kind == Kind::Nothing {
            return Err(refused(format!(
                "{}: no such file or directory",
                source.display()
            )));
        }
        Goal {
            directory: PathBuf::new(),
            name: source.file_name().map(PathBuf::from),
        }
    } else {
        let target = Path::new(target);
        let parent = target.parent().filter(|path| !path.as_os_str().is_empty());
        let parent = Kind::of(parent.unwrap_or(Path::new(".")), true);
        goal((source, kind), (target, Kind::of(target, true)), parent).map_err(refused)?
    };
    let helper = files.helper(Way::Out, |pipe| {
        pack(source, goal.name.as_deref(), how, pipe)
    })?;
    let pipe = helper
        .pipe
        .try_clone()
        .map_err(Error::system("copy a descriptor"))?;
    let received = match stdout {
        true => stream(pipe, io::stdout().lock()).map_err(|error| error.to_string()),
        false => unpack(pipe, &goal.directory, how),
    };
    helper.finish()?.map_err(refused)?;
    received.map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_paths() {
        assert_eq!(split("web:/etc"), (Some("web"), "/etc"));
        assert_eq!(split("web:etc"), (Some("web"), "etc"));
        assert_eq!(split("./web:/etc"), (None, "./web:/etc"));
        assert_eq!(split("/a:b"), (None, "/a:b"));
        assert_eq!(split(":x"), (None, ":x"));
        assert_eq!(absolute("etc/."), Path::new("/etc/."));
        assert_eq!(absolute("//x"), Path::new("/x"));
    }
}
