//! Who is compared: a plain copy, the kernel's overlayfs, the FUSE unions of others, and layerfs
//! in each of its modes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::error::{Context, Error, Result};
use super::samples::{PLAIN, YARDSTICK};
use crate::programs;

/// The version of fuse-overlayfs on crates.io that is compared.
pub(super) const FUSE_OVERLAYFS_2: &str = "2.0.0";

const UNIONFS: &str = "unionfs-fuse";

/// How file data travels; the targets differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Io {
    /// Through the kernel's page cache of the FUSE mount.
    Cached,
    /// Straight from the file below.
    Passthrough,
}

#[derive(Debug, Clone)]
enum Kind {
    Plain,
    Overlay,
    FuseOverlayfs(PathBuf),
    Unionfs,
    Layerfs(PathBuf, Vec<String>, Io),
}

/// A file system that takes part.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    /// Its name on the command line, in files and in paths.
    pub(super) key: String,
    /// Its name in tables.
    pub(super) title: String,
    /// What it says of its version.
    pub(super) version: String,
    kind: Kind,
}

/// Where a union takes its parts from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Read-only layers, topmost first.
    pub(super) lowers: &'a [PathBuf],
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
    pub(super) point: &'a Path,
}

/// How a contender comes to its mount point.
pub(super) enum Way {
    /// There is nothing to mount.
    Copy,
    /// The kernel's overlayfs.
    Kernel,
    /// A daemon in the foreground.
    Daemon(Command),
}

impl Contender {
    fn new(key: &str, title: &str, version: String, kind: Kind) -> Self {
        Self {
            key: key.to_owned(),
            title: title.to_owned(),
            version,
            kind,
        }
    }

    /// Whether it is ours.
    pub(super) fn ours(&self) -> Option<Io> {
        match self.kind {
            Kind::Layerfs(_, _, io) => Some(io),
            _ => None,
        }
    }

    /// Whether it works on a plain copy of the layers.
    pub(super) fn is_copy(&self) -> bool {
        matches!(self.kind, Kind::Plain)
    }

    /// How to mount it.
    pub(super) fn way(&self, parts: Parts<'_>) -> Way {
        match &self.kind {
            Kind::Plain => Way::Copy,
            Kind::Overlay => Way::Kernel,
            Kind::FuseOverlayfs(program) => {
                let mut command = mortal(program);
                command.arg("-f").arg("-o").arg(overlay_list(parts));
                command.arg(parts.point);
                Way::Daemon(command)
            }
            Kind::Unionfs => {
                let mut command = mortal(Path::new("unionfs"));
                let options = "cow,allow_other,use_ino,suid,dev,default_permissions";
                command.args(["-f", "-o", options]);
                command.arg(branches(parts)).arg(parts.point);
                Way::Daemon(command)
            }
            Kind::Layerfs(program, flags, _) => {
                let mut command = mortal(program);
                command.args(["mount", "-f"]).args(flags);
                for lower in parts.lowers {
                    command.arg("--lower").arg(lower);
                }
                command.arg("--upper").arg(parts.upper);
                command.arg("--work").arg(parts.work);
                command.arg(parts.point);
                Way::Daemon(command)
            }
        }
    }

    /// The options that it is mounted with, for the record.
    pub(super) fn how(&self) -> String {
        let [lower, upper, work, point] = ["LOWER", "UPPER", "WORK", "MNT"].map(PathBuf::from);
        let parts = Parts {
            lowers: &[lower],
            upper: &upper,
            work: &work,
            point: &point,
        };
        match self.way(parts) {
            Way::Copy => "cp -a LOWER MNT".to_owned(),
            Way::Kernel => {
                let list = overlay_list(parts);
                format!("mount -t overlay -o {} MNT", list.to_string_lossy())
            }
            Way::Daemon(command) => {
                // Without `setpriv --pdeathsig KILL --` and the directory of the program.
                let words: Vec<_> = command
                    .get_args()
                    .skip(3)
                    .map(|word| word.to_string_lossy())
                    .collect();
                let line = words.join(" ");
                let program = words.first().map_or("", |word| word);
                let name = program.rsplit('/').next().unwrap_or_default();
                line.replacen(program, name, 1)
            }
        }
    }
}

/// A command that dies with this program, also when that is killed.
fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// `lowerdir=A:B,upperdir=U,workdir=W`; our own paths need no escapes.
pub(super) fn overlay_list(parts: Parts<'_>) -> OsString {
    let mut list = b"lowerdir=".to_vec();
    for (i, lower) in parts.lowers.iter().enumerate() {
        if i > 0 {
            list.push(b':');
        }
        list.extend(lower.as_os_str().as_bytes());
    }
    list.extend(b",upperdir=");
    list.extend(parts.upper.as_os_str().as_bytes());
    list.extend(b",workdir=");
    list.extend(parts.work.as_os_str().as_bytes());
    OsString::from_vec(list)
}

/// `UPPER=RW:A=RO:B=RO`.
fn branches(parts: Parts<'_>) -> OsString {
    let mut list = parts.upper.as_os_str().as_bytes().to_vec();
    list.extend(b"=RW");
    for lower in parts.lowers {
        list.push(b':');
        list.extend(lower.as_os_str().as_bytes());
        list.extend(b"=RO");
    }
    OsString::from_vec(list)
}

/// The contenders whose key begins with one of `wanted`; all if none is named.
///
/// # Errors
/// If one of them is not installed, or layerfs cannot be built.
pub(super) fn chosen(wanted: &[String]) -> Result<Vec<Contender>> {
    let is_wanted = |key: &str| wanted.is_empty() || wanted.iter().any(|w| key.starts_with(w));
    let kernel = rustix::system::uname();
    let kernel = format!("Linux {}", kernel.release().to_string_lossy());
    let mut found = vec![
        Contender::new(PLAIN, "plain copy", String::new(), Kind::Plain),
        Contender::new(YARDSTICK, "overlayfs", kernel, Kind::Overlay),
    ];
    let debian = PathBuf::from("fuse-overlayfs");
    let cargo = tools_root().join("bin/fuse-overlayfs");
    for (key, program) in [("fuse-overlayfs-1", debian), ("fuse-overlayfs-2", cargo)] {
        if is_wanted(key) {
            let version = version(&program, "fuse-overlayfs: version ")?;
            let title = format!("fuse-overlayfs {}", short(&version));
            let kind = Kind::FuseOverlayfs(program);
            found.push(Contender::new(key, &title, version, kind));
        }
    }
    if is_wanted(UNIONFS) {
        let version = version(Path::new("unionfs"), "unionfs-fuse version: ")?;
        let title = format!("unionfs-fuse {version}");
        found.push(Contender::new(UNIONFS, &title, version, Kind::Unionfs));
    }
    if wanted.is_empty() || wanted.iter().any(|key| key.starts_with("layerfs")) {
        found.extend(modes()?);
    }
    found.retain(|contender| is_wanted(&contender.key));
    if found.is_empty() {
        return Err(Error::Wrong(
            "no contender has such a key: see --list".to_owned(),
        ));
    }
    Ok(found)
}

/// `2.0` of `2.0.0`.
fn short(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Where `cargo install` puts the peers that Debian does not have.
pub(super) fn tools_root() -> PathBuf {
    programs::workspace().join("target/tools")
}

/// What `PROGRAM --version` says behind `prefix`.
fn version(program: &Path, prefix: &str) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|_| Error::Missing(program.display().to_string()))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let found = said.lines().find_map(|line| line.strip_prefix(prefix));
    Ok(found.unwrap_or("of unknown version").trim().to_owned())
}

/// layerfs by transport and way of the data, as far as its help offers them.
fn modes() -> Result<Vec<Contender>> {
    let program = programs::release("layerfs").on("building layerfs")?;
    let run = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).output();
        let output = output.on(program.display())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let version = run(&["--version"])?.trim().to_owned();
    let help = run(&["mount", "--help"])?;
    let mode = |key: &str, title: &str, flags: &[&str], io| {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let kind = Kind::Layerfs(program.clone(), flags, io);
        let (key, title) = (format!("layerfs{key}"), format!("layerfs{title}"));
        Contender::new(&key, &title, version.clone(), kind)
    };
    let (device, rings) = ("--transport=device", "--transport=rings");
    Ok(
        match (help.contains("--transport"), help.contains("--io")) {
            (false, _) => vec![mode("", "", &[], Io::Cached)],
            (true, false) => vec![
                mode("-device", " device", &[device], Io::Cached),
                mode("-rings", " rings", &[rings], Io::Cached),
            ],
            (true, true) => vec![
                mode("-device", " device", &[device], Io::Cached),
                mode("-cached", " cached", &[rings, "--io=cached"], Io::Cached),
                mode(
                    "-passthrough",
                    " passthrough",
                    &[rings, "--io=passthrough"],
                    Io::Passthrough,
                ),
            ],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_layers_are_as_each_program_reads_them() {
        let lowers = [PathBuf::from("/a"), PathBuf::from("/b")];
        let [upper, work, point] = ["/u", "/w", "/m"].map(Path::new);
        let parts = Parts {
            lowers: &lowers,
            upper,
            work,
            point,
        };
        assert_eq!(overlay_list(parts), "lowerdir=/a:/b,upperdir=/u,workdir=/w");
        assert_eq!(branches(parts), "/u=RW:/a=RO:/b=RO");
    }
}
