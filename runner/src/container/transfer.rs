//! Files on their way into a container or out of it, packed as tar: `cp`.
//!
//! ```text
//!   SRC is                     DST is                 made at DST
//!   a file                     nothing                DST               (DST/ : an error)
//!                              a file                 DST, replaced
//!                              a directory            DST/name
//!   a directory                nothing                DST
//!   a directory                a directory            DST/name
//!   a directory, as SRC/.      a directory            its contents in DST
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Builder, EntryType};

/// What is at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Nothing,
    /// A directory, maybe behind a link.
    Directory,
    /// Something else.
    File,
}

/// How a transfer is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// A link at the source's end is followed.
    pub follow: bool,
    /// Owners stay what they are; else all is the receiver's.
    pub keep_owners: bool,
}

/// Where something goes: a directory that is there, and its new name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The directory.
    pub directory: PathBuf,
    /// The name; none for the contents of a directory.
    pub name: Option<PathBuf>,
}

impl Kind {
    /// Looks at a path.
    pub fn of(path: &Path, follow: bool) -> Self {
        let meta = match follow {
            true => fs::metadata(path),
            false => fs::symlink_metadata(path),
        };
        match meta {
            Ok(meta) if meta.is_dir() => Self::Directory,
            Ok(_) => Self::File,
            Err(_) => Self::Nothing,
        }
    }

    /// As a byte over a pipe.
    pub fn code(self) -> u8 {
        match self {
            Self::Nothing => b'n',
            Self::Directory => b'd',
            Self::File => b'f',
        }
    }

    /// The other way round.
    pub fn from_code(code: u8) -> Self {
        match code {
            b'd' => Self::Directory,
            b'f' => Self::File,
            _ => Self::Nothing,
        }
    }
}

/// The rules at the head of this file. `source` and `target` are paths as the user wrote them.
///
/// # Errors
/// What does not fit together, in words.
pub fn goal(source: (&Path, Kind), target: (&Path, Kind), parent: Kind) -> Result<Goal, String> {
    let shown = |path: &Path| path.display().to_string();
    let ends_in_slash = |path: &Path| shown(path).ends_with('/');
    let contents = shown(source.0).ends_with("/.") || source.0 == Path::new(".");
    let own_name = || last_name(source.0).map(PathBuf::from);
    match (source.1, target.1) {
        (Kind::Nothing, _) => Err(format!("{}: no such file or directory", shown(source.0))),
        (Kind::Directory, Kind::File) => Err(format!(
            "{}: cannot copy a directory over a file",
            shown(target.0)
        )),
        (Kind::Directory, Kind::Directory) if contents => Ok(Goal {
            directory: target.0.to_owned(),
            name: None,
        }),
        (_, Kind::Directory) => Ok(Goal {
            directory: target.0.to_owned(),
            // `/` has no name: its contents then.
            name: own_name(),
        }),
        (Kind::File, Kind::Nothing) if ends_in_slash(target.0) => {
            Err(format!("{}: no such directory", shown(target.0)))
        }
        (_, _) => {
            let name = last_name(target.0).map(PathBuf::from);
            let directory = target.0.parent().unwrap_or(Path::new("."));
            let directory = match directory.as_os_str().is_empty() {
                true => Path::new("."),
                false => directory,
            };
            if parent != Kind::Directory {
                return Err(format!("{}: no such directory", shown(directory)));
            }
            Ok(Goal {
                directory: directory.to_owned(),
                name,
            })
        }
    }
}

fn last_name(path: &Path) -> Option<&std::ffi::OsStr> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Some(name),
        _ => None,
    }
}

/// Packs what is at `source` under `name`; its contents alone if there is none.
///
/// # Errors
/// What cannot be read, in words.
pub fn pack(source: &Path, name: Option<&Path>, how: How, to: impl Write) -> Result<(), String> {
    let failed = |error: io::Error| format!("read {}: {error}", source.display());
    let mut builder = Builder::new(to);
    builder.follow_symlinks(false);
    let real = match how.follow {
        true => fs::canonicalize(source).map_err(failed)?,
        false => source.to_owned(),
    };
    let meta = fs::symlink_metadata(&real).map_err(failed)?;
    let name = name.unwrap_or(Path::new("."));
    if meta.is_dir() {
        builder.append_dir_all(name, &real).map_err(failed)?;
    } else {
        builder.append_path_with_name(&real, name).map_err(failed)?;
    }
    let mut to = builder.into_inner().map_err(failed)?;
    to.flush().map_err(failed)
}

/// Unpacks below `directory`. The archive's names stay below it, whatever links are there already.
///
/// # Errors
/// What is no archive, or cannot be written, in words.
pub fn unpack(from: impl Read, directory: &Path, how: How) -> Result<(), String> {
    let failed = |error: io::Error| {
        // The library tells path and reason in two errors, one within the other.
        let inner = std::error::Error::source(&error).map(ToString::to_string);
        let why = inner.unwrap_or_default();
        match why.is_empty() {
            true => format!("write below {}: {error}", directory.display()),
            false => format!("{error}: {why}"),
        }
    };
    let mut archive = Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    archive.set_preserve_ownerships(how.keep_owners);
    archive.set_overwrite(true);
    // Directories last, deepest first: what is made in them changes their times.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if entry.header().entry_type() == EntryType::Directory {
            directories.push(entry);
        } else {
            entry.unpack_in(directory).map_err(failed)?;
        }
    }
    for mut entry in directories.into_iter().rev() {
        entry.unpack_in(directory).map_err(failed)?;
    }
    Ok(())
}

/// Copies an archive as it is.
///
/// # Errors
/// As read(2) and write(2).
pub fn stream(mut from: File, mut to: impl Write) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_rules() {
        let to = |source: &str, kind, target: &str, there| {
            let goal = goal(
                (Path::new(source), kind),
                (Path::new(target), there),
                Kind::Directory,
            );
            goal.map(|goal| {
                let name = goal.name.map(|name| name.display().to_string());
                (goal.directory.display().to_string(), name)
            })
        };
        let at = |directory: &str, name: &str| {
            Ok((
                directory.to_owned(),
                Some(name.to_owned()).filter(|n| !n.is_empty()),
            ))
        };
        use Kind::{Directory, File, Nothing};
        assert_eq!(to("/a/f", File, "/x/new", Nothing), at("/x", "new"));
        assert_eq!(to("/a/f", File, "new", Nothing), at(".", "new"));
        assert_eq!(to("/a/f", File, "/x/old", File), at("/x", "old"));
        assert_eq!(to("/a/f", File, "/x/dir", Directory), at("/x/dir", "f"));
        assert!(to("/a/f", File, "/x/new/", Nothing).is_err());
        assert_eq!(to("/a/d", Directory, "/x/new", Nothing), at("/x", "new"));
        assert_eq!(to("/a/d", Directory, "/x/new/", Nothing), at("/x", "new"));
        assert_eq!(
            to("/a/d", Directory, "/x/dir", Directory),
            at("/x/dir", "d")
        );
        assert_eq!(
            to("/a/d/.", Directory, "/x/dir", Directory),
            at("/x/dir", "")
        );
        assert_eq!(to("/", Directory, "/x/dir", Directory), at("/x/dir", ""));
        assert!(to("/a/d", Directory, "/x/old", File).is_err());
        assert!(to("/a/none", Nothing, "/x", Directory).is_err());
        let no_parent = goal(
            (Path::new("/a"), File),
            (Path::new("/n/x"), Nothing),
            Nothing,
        );
        assert!(no_parent.is_err());
    }
}
