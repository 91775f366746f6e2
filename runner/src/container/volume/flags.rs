//! The values of `-v`, `--volumes-from` and `--tmpfs`: parsed and checked, nothing touched but to look.

use super::{Forbid, Origin, Tmpfs, Wanted};
use crate::error::{Error, Result};
use std::path::{Component, Path, PathBuf};

impl Wanted {
    /// One that may be written, with nothing forbidden.
    pub(super) fn new(origin: Origin, target: PathBuf) -> Self {
        Self {
            origin,
            target,
            read_only: false,
            forbid: Forbid::default(),
            slave: false,
            copy: true,
        }
    }

    /// The value of `-v`: `[HOST:|NAME:]CONTAINER[:OPTIONS]`. A host path must be there.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| value("-v", text, why);
        let parts: Vec<&str> = text.split(':').collect();
        let (origin, target, options) = match parts.as_slice() {
            [target] => (Origin::Anonymous, *target, ""),
            [source, target] => (origin(source).map_err(bad)?, *target, ""),
            [source, target, options] => (origin(source).map_err(bad)?, *target, *options),
            _ => {
                let why = "too many colons; want [HOST:|NAME:]CONTAINER[:ro]";
                return Err(bad(why.to_owned()));
            }
        };
        let target = target_path(target).map_err(bad)?;
        let mut volume = Self::new(origin, target);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => volume.read_only = true,
                "rw" => volume.read_only = false,
                "nocopy" => volume.copy = false,
                // Labels of SELinux: there are none here.
                "z" | "Z" => {}
                other if volume.propagation(other).map_err(bad)? => {}
                other if volume.forbid.option(other) => {}
                other => {
                    let why = format!(
                        "unknown option {other:?}; known: ro, rw, nocopy, rprivate, rslave, \
                         nosuid, nodev, noexec"
                    );
                    return Err(value("-v", text, why));
                }
            }
        }
        Ok(volume)
    }

    /// Takes one option if it is about propagation.
    pub(super) fn propagation(&mut self, option: &str) -> Result<bool, String> {
        match option {
            "rprivate" | "private" => self.slave = false,
            "rslave" | "slave" => self.slave = true,
            "rshared" | "shared" => {
                return Err(
                    "what a container mounts never reaches this machine: want rprivate or \
                     rslave"
                        .to_owned(),
                );
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What the first part of `-v` names.
fn origin(text: &str) -> Result<Origin, String> {
    let relative = text == "." || text == ".." || text.starts_with("./") || text.starts_with("../");
    if text.starts_with('/') || relative {
        return host_path(text).map(Origin::Host);
    }
    super::store::check_name(text)?;
    Ok(Origin::Named(text.to_owned()))
}

/// The value of `--volumes-from`: `CONTAINER[:ro|rw]`; gives the container, and whether what comes
/// from it may only be read.
pub fn volumes_from(text: &str) -> Result<(&str, Option<bool>)> {
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        Some((container, "ro")) => Ok((container, Some(true))),
        Some((container, "rw")) => Ok((container, Some(false))),
        Some((_, mode)) => {
            let why = format!("unknown mode {mode:?}; want CONTAINER[:ro|rw]");
            Err(value("--volumes-from", text, why))
        }
    }
}

impl Tmpfs {
    /// The value of `--tmpfs`: `CONTAINER[:OPTIONS]`.
    pub fn parse(text: &str) -> Result<Self> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let mut tmpfs = Self {
            target: target_path(target).map_err(|why| value("--tmpfs", text, why))?,
            read_only: false,
            forbid: Forbid {
                suid: true,
                dev: true,
                exec: true,
            },
            options: vec![("mode".to_owned(), "1777".to_owned())],
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                None if option == "ro" => tmpfs.read_only = true,
                None if option == "rw" => tmpfs.read_only = false,
                None if tmpfs.forbid.option(option) => {}
                Some((key @ ("size" | "mode" | "uid" | "gid" | "nr_inodes"), setting)) => {
                    tmpfs.options.retain(|(other, _)| other != key);
                    tmpfs.options.push((key.to_owned(), setting.to_owned()));
                }
                _ => {
                    let why = format!(
                        "unknown option {option:?}; known: size=, mode=, uid=, gid=, nr_inodes=, \
                         ro, rw, exec, suid, dev and their no-forms"
                    );
                    return Err(value("--tmpfs", text, why));
                }
            }
        }
        Ok(tmpfs)
    }
}

/// Refuses two mounts at one place.
pub fn check_targets<'a>(targets: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        if !seen.insert(target) {
            let why = "is given twice as a mount point".to_owned();
            return Err(value("-v", &target.display().to_string(), why));
        }
    }
    Ok(())
}

pub(super) fn value(flag: &'static str, text: &str, why: String) -> Error {
    Error::Value {
        flag,
        value: text.to_owned(),
        why,
    }
}

pub(super) fn host_path(text: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(text).map_err(|error| error.to_string())?;
    match path.metadata() {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "volume source {}: no such file or directory; make it first",
            path.display()
        )),
        Err(error) => Err(format!("volume source {}: {error}", path.display())),
    }
}

/// A place in the container where something may be mounted: without `.` and `..`.
pub(super) fn target_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("the container path must start with /".to_owned());
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    if clean == Path::new("/") {
        return Err("cannot be mounted over the container's root".to_owned());
    }
    if clean.starts_with("/proc") {
        return Err("nothing can be mounted in the container's /proc".to_owned());
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let volume = Wanted::parse("/etc:/x/../data/:ro,nosuid").unwrap();
        assert_eq!(volume.target, Path::new("/data"));
        assert!(volume.read_only && volume.forbid.suid && !volume.forbid.exec);
        let Origin::Host(path) = Wanted::parse("./:/data").unwrap().origin else {
            panic!("a path is no name");
        };
        assert!(path.is_absolute());
        let anonymous = Wanted::parse("/data").unwrap();
        assert_eq!(
            (anonymous.origin, anonymous.copy),
            (Origin::Anonymous, true)
        );
        let named = Wanted::parse("name:/data:nocopy,ro").unwrap();
        assert_eq!(named.origin, Origin::Named("name".to_owned()));
        assert!(named.read_only && !named.copy);
        for bad in [
            "",
            "data",
            "a/b:/data",
            ".hidden:/data",
            "/etc:/data:rshared",
            "/etc:data",
            "/etc:/",
            "/etc:/..",
            "/etc:/proc",
            "/etc:/x/../proc/sys",
            "/etc:/data:rx",
            "/etc:/data:ro:rw",
            "/surely/not/there:/data",
            ":/data",
            "/etc:",
        ] {
            let error = Wanted::parse(bad).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{bad}");
        }
    }

    #[test]
    fn temporary_file_systems() {
        let tmpfs = Tmpfs::parse("/run:size=64m,exec,mode=755").unwrap();
        assert!(!tmpfs.forbid.exec && tmpfs.forbid.suid);
        let pairs = [("size", "64m"), ("mode", "755")];
        let pairs: Vec<_> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(tmpfs.options, pairs);
        for bad in ["", "run", "/run:frob", "/run:size", "/"] {
            assert!(Tmpfs::parse(bad).is_err(), "{bad}");
        }
    }
}
