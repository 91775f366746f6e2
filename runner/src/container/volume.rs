//! The values of `-v` and `--tmpfs`: parsed and checked, nothing touched but to look.

use crate::error::{Error, Result};
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// A host path shown in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: PathBuf,
    /// Cannot be written through it.
    pub read_only: bool,
    /// What it forbids besides.
    pub forbid: Forbid,
    /// Later mounts on the host below the source appear in the container.
    pub slave: bool,
}

/// A temporary file system in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where.
    pub target: PathBuf,
    /// Cannot be written.
    pub read_only: bool,
    /// What it forbids.
    pub forbid: Forbid,
    /// Options of the file system: `size`, `mode`, ...
    pub options: Vec<(String, String)>,
}

/// What cannot be done with the files of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// Set-user-id has no effect.
    pub suid: bool,
    /// Devices cannot be opened.
    pub dev: bool,
    /// Programs cannot be executed.
    pub exec: bool,
}

impl Forbid {
    /// As attributes of a mount.
    pub fn attributes(self, read_only: bool) -> MountAttrFlags {
        [
            (self.suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
            (self.dev, MountAttrFlags::MOUNT_ATTR_NODEV),
            (self.exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
            (read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .collect()
    }

    /// Takes one option if it is of this kind.
    fn option(&mut self, option: &str) -> bool {
        match option {
            "suid" => self.suid = false,
            "nosuid" => self.suid = true,
            "dev" => self.dev = false,
            "nodev" => self.dev = true,
            "exec" => self.exec = false,
            "noexec" => self.exec = true,
            _ => return false,
        }
        true
    }
}

impl Volume {
    /// The value of `-v`: `HOST:CONTAINER[:OPTIONS]`. The host path must be there.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| value("-v", text, why);
        let mut parts = text.split(':');
        let source = parts.next().unwrap_or_default();
        let Some(target) = parts.next() else {
            return Err(bad(
                "want HOST:CONTAINER[:ro]; volumes without a host path come with a \
                later version"
                    .to_owned(),
            ));
        };
        let options = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return Err(bad("too many colons; want HOST:CONTAINER[:ro]".to_owned()));
        }
        let mut volume = Self {
            source: host_path(source).map_err(bad)?,
            target: target_path(target).map_err(|why| value("-v", text, why))?,
            read_only: false,
            forbid: Forbid::default(),
            slave: false,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => volume.read_only = true,
                "rw" => volume.read_only = false,
                "rprivate" | "private" => volume.slave = false,
                "rslave" | "slave" => volume.slave = true,
                // Labels of SELinux, and copying into new volumes: nothing to do here.
                "z" | "Z" | "nocopy" => {}
                other if volume.forbid.option(other) => {}
                other => {
                    let why = format!(
                        "unknown option {other:?}; known: ro, rw, rprivate, rslave, nosuid, \
                         nodev, noexec"
                    );
                    return Err(value("-v", text, why));
                }
            }
        }
        Ok(volume)
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

fn value(flag: &'static str, text: &str, why: String) -> Error {
    Error::Value {
        flag,
        value: text.to_owned(),
        why,
    }
}

fn host_path(text: &str) -> Result<PathBuf, String> {
    let relative = text == "." || text == ".." || text.starts_with("./") || text.starts_with("../");
    if !text.starts_with('/') && !relative {
        return Err(format!(
            "the host path must start with / or ./ (volumes by name, as {text:?}, come with a \
             later version)"
        ));
    }
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
fn target_path(text: &str) -> Result<PathBuf, String> {
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
        let volume = Volume::parse("/etc:/x/../data/:ro,nosuid").unwrap();
        assert_eq!(volume.target, Path::new("/data"));
        assert!(volume.read_only && volume.forbid.suid && !volume.forbid.exec);
        assert!(Volume::parse("./:/data").unwrap().source.is_absolute());
        for bad in [
            "",
            "/etc",
            "name:/data",
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
            let error = Volume::parse(bad).unwrap_err().to_string();
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
