//! Mount options: from the words of a command line to a checked [`Plan`].
//!
//! ```text
//!   --lower, --upper, ...  ─┐
//!                           ├─> Options (what was said) ─> Plan { Config, MountOptions }
//!   -o key=value,key,...   ─┘                               (what will be done)
//! ```
//!
//! The words are those of overlayfs, fuse-overlayfs and mount(8). Each is acted on, or has no
//! meaning here (and a comment says why), or is refused: nothing that would change what the user
//! sees is passed over in silence.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::transport::{FOREVER, Io, MountOptions, Transport};
use crate::types::{Config, Metacopy, UpperConfig};

/// Most threads that may be asked for; more only cost memory.
const MAX_THREADS: usize = 256;

/// What the command line said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) lowers: Vec<PathBuf>,
    pub(super) upper: Option<PathBuf>,
    pub(super) work: Option<PathBuf>,
    pub(super) read_only: bool,
    pub(super) volatile: bool,
    /// Change the flags of a mount that is there (mount -o remount), make none.
    pub(super) remount: bool,
    fsname: Option<OsString>,
    nosuid: bool,
    nodev: bool,
    noexec: bool,
    noatime: bool,
    sync: bool,
    dirsync: bool,
    private: bool,
    noacl: bool,
    trust_redirect: bool,
    metacopy: Metacopy,
    timeout: Option<Duration>,
    threads: Option<usize>,
    pub(super) transport: Transport,
    io: Io,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The union.
    pub(super) config: Config,
    /// How it is shown.
    pub(super) mount: MountOptions,
}

/// What is wrong with the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionError {
    #[error("option {0}: unknown; see layerfs mount --help")]
    Unknown(String),
    #[error("option {0}: {1}")]
    Unsupported(String, &'static str),
    #[error("option {key}={value}: {wanted}")]
    Value {
        key: String,
        value: String,
        wanted: &'static str,
    },
    #[error("option {0}: needs a value")]
    NoValue(String),
    #[error("no lower layer: give at least one --lower DIR (or -o lowerdir=DIR)")]
    NoLower,
    #[error(
        "io=writeback and timeout= do not go together: the kernel then takes sizes and times from \
        itself alone, whatever changes in the layers; leave one of them out"
    )]
    Timeout,
    #[error("upper {} without a work directory: give --work DIR (or -o workdir=DIR), an empty \
        directory on the same file system", .0.display())]
    NoWork(PathBuf),
    #[error("work directory {} without an upper: give --upper DIR too, or neither for a read-only \
        mount", .0.display())]
    NoUpper(PathBuf),
}

/// One `key` or `key=value`; the value with its escapes.
struct Word<'a> {
    key: &'a str,
    value: Option<&'a [u8]>,
}

impl Word<'_> {
    /// The value without escapes.
    fn text(&self) -> Result<OsString, OptionError> {
        match self.value {
            Some(value) if !value.is_empty() => Ok(unescape(value)),
            _ => Err(OptionError::NoValue(self.key.to_owned())),
        }
    }

    fn path(&self) -> Result<PathBuf, OptionError> {
        self.text().map(PathBuf::from)
    }

    fn wrong(&self, wanted: &'static str) -> OptionError {
        let value = String::from_utf8_lossy(self.value.unwrap_or_default()).into_owned();
        OptionError::Value {
            key: self.key.to_owned(),
            value,
            wanted,
        }
    }

    fn unsupported(&self, why: &'static str) -> Result<bool, OptionError> {
        Err(OptionError::Unsupported(self.key.to_owned(), why))
    }

    /// The value as UTF-8; empty if there is none.
    fn value(&self) -> &str {
        std::str::from_utf8(self.value.unwrap_or_default()).unwrap_or_default()
    }
}

impl Options {
    /// Takes one `-o` list. With `sloppy` (mount -s) unknown words are passed over.
    pub(super) fn apply(&mut self, list: &OsStr, sloppy: bool) -> Result<(), OptionError> {
        for piece in split(list.as_bytes(), b',') {
            if piece.is_empty() {
                continue;
            }
            let equals = piece.iter().position(|&byte| byte == b'=');
            let (key, value) = match equals {
                Some(at) => (&piece[..at], Some(&piece[at + 1..])),
                None => (piece, None),
            };
            let unknown = || OptionError::Unknown(String::from_utf8_lossy(piece).into_owned());
            let key = std::str::from_utf8(key).map_err(|_| unknown())?;
            let word = Word { key, value };
            // `lowerdir+=DIR` comes as the key `lowerdir+`.
            let known = self.layer(&word)?
                || self.flag(&word)?
                || self.tuning(&word)?
                || refused(&word)?
                || meaningless(&word)?;
            if !known && !sloppy {
                return Err(unknown());
            }
        }
        Ok(())
    }

    /// The source that `/proc/mounts` shows, unless an option names another.
    pub(super) fn set_fsname(&mut self, name: &OsStr) {
        self.fsname = Some(name.to_owned());
    }

    /// Options that name the layers.
    fn layer(&mut self, word: &Word<'_>) -> Result<bool, OptionError> {
        match word.key {
            "lowerdir" => {
                // A second list replaces the first, as the last of any option counts.
                self.lowers.clear();
                let list = word.value.unwrap_or_default();
                for path in split(list, b':') {
                    if path.is_empty() {
                        let why = "an empty path in the list (`::` data-only layers are not \
                            supported; write a colon in a path as \\:)";
                        return Err(word.wrong(why));
                    }
                    self.lowers.push(PathBuf::from(unescape(path)));
                }
            }
            "lowerdir+" => self.lowers.push(word.path()?),
            "upperdir" => self.upper = Some(word.path()?),
            "workdir" => self.work = Some(word.path()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options without a value, that act.
    fn flag(&mut self, word: &Word<'_>) -> Result<bool, OptionError> {
        let (place, on) = match word.key {
            "ro" => (&mut self.read_only, true),
            "rw" => (&mut self.read_only, false),
            "suid" => (&mut self.nosuid, false),
            "nosuid" => (&mut self.nosuid, true),
            "dev" => (&mut self.nodev, false),
            "nodev" => (&mut self.nodev, true),
            "exec" => (&mut self.noexec, false),
            "noexec" => (&mut self.noexec, true),
            "atime" => (&mut self.noatime, false),
            "noatime" => (&mut self.noatime, true),
            "sync" => (&mut self.sync, true),
            "async" => (&mut self.sync, false),
            "dirsync" => (&mut self.dirsync, true),
            "allow_other" => (&mut self.private, false),
            // The owner of the mount is root, so "root and the owner" is the owner.
            "allow_root" => (&mut self.private, true),
            "volatile" => (&mut self.volatile, true),
            "noacl" => (&mut self.noacl, true),
            "remount" => (&mut self.remount, true),
            _ => return Ok(false),
        };
        if word.value.is_some() {
            return Err(word.wrong("takes no value"));
        }
        *place = on;
        Ok(true)
    }

    /// Options with a value, that act.
    fn tuning(&mut self, word: &Word<'_>) -> Result<bool, OptionError> {
        match word.key {
            "fsname" => self.fsname = Some(word.text()?),
            "timeout" => self.timeout = Some(seconds(word)?),
            "transport" => {
                self.transport = match word.value() {
                    "auto" => Transport::Auto,
                    "rings" => Transport::Rings,
                    "device" => Transport::Device,
                    _ => return Err(word.wrong("auto, rings or device")),
                }
            }
            "io" => {
                self.io = match word.value() {
                    "auto" | "cached" => Io::Cached,
                    "writeback" => Io::Writeback,
                    _ => return Err(word.wrong("auto, cached or writeback")),
                }
            }
            "threads" | "max_threads" => self.threads = Some(threads(word)?),
            "threaded" => {
                self.threads = match word.value() {
                    "0" => Some(1),
                    "1" | "" => self.threads,
                    _ => return Err(word.wrong("0 or 1")),
                }
            }
            "redirect_dir" => {
                self.trust_redirect = match word.value() {
                    "on" | "follow" => true,
                    "off" | "nofollow" => false,
                    _ => return Err(word.wrong("on, follow, nofollow or off")),
                }
            }
            "metacopy" => {
                self.metacopy = match word.value() {
                    "on" => Metacopy::Upper,
                    "follow" => Metacopy::Follow,
                    "off" => Metacopy::Off,
                    _ => return Err(word.wrong("on, follow or off")),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Checks what was said as a whole.
    pub(super) fn plan(self) -> Result<Plan, OptionError> {
        if self.lowers.is_empty() {
            return Err(OptionError::NoLower);
        }
        if self.io == Io::Writeback && self.timeout.is_some_and(|timeout| timeout < FOREVER) {
            return Err(OptionError::Timeout);
        }
        let shown = self.mount_options();
        let upper = match (self.upper, self.work) {
            (Some(upper), Some(work)) => Some(UpperConfig { upper, work }),
            (Some(upper), None) => return Err(OptionError::NoWork(upper)),
            (None, Some(work)) => return Err(OptionError::NoUpper(work)),
            (None, None) => None,
        };
        let mount = MountOptions {
            read_only: self.read_only || upper.is_none(),
            ..shown
        };
        let config = Config {
            lowers: self.lowers,
            upper,
            read_only: self.read_only,
            volatile: self.volatile,
            trust_redirect: self.trust_redirect,
            metacopy: self.metacopy,
            noatime: self.noatime,
        };
        Ok(Plan { config, mount })
    }

    /// How the mount is shown.
    pub(super) fn mount_options(&self) -> MountOptions {
        let default = MountOptions::default();
        MountOptions {
            fsname: self.fsname.clone().unwrap_or(default.fsname),
            read_only: self.read_only,
            nosuid: self.nosuid,
            nodev: self.nodev,
            noexec: self.noexec,
            noatime: self.noatime,
            sync: self.sync,
            dirsync: self.dirsync,
            allow_other: !self.private,
            acl: !self.noacl,
            timeout: self.timeout.unwrap_or(default.timeout),
            transport: self.transport,
            io: self.io,
            threads: self.threads.unwrap_or(default.threads),
            stop_on_signals: true,
        }
    }
}

/// Options whose meaning we do not have: always an error, unless they ask for what is so anyway.
fn refused(word: &Word<'_>) -> Result<bool, OptionError> {
    match (word.key, word.value()) {
        ("context" | "fscontext" | "defcontext" | "rootcontext", _) => {
            word.unsupported("SELinux labels by mount are not supported")
        }
        ("uidmapping" | "gidmapping", _) => {
            word.unsupported("ids are shown as the layers have them; mappings are not supported")
        }
        ("squash_to_root" | "squash_to_uid" | "squash_to_gid", _) => {
            word.unsupported("owners are shown as the layers have them; squashing is not supported")
        }
        ("userxattr", _) => word.unsupported(
            "the form of the upper's marks is found out at mount (trusted.* where it works)",
        ),
        ("nfs_export", "on") => word.unsupported("file handles for NFS are not supported"),
        ("plugins", _) => word.unsupported("plugins of fuse-overlayfs are not supported"),
        ("xattr_permissions", value) if value != "0" => {
            word.unsupported("permissions are the files' own; keeping them in xattrs is not done")
        }
        ("noxattrs", value) if value != "0" => word.unsupported("xattrs cannot be switched off"),
        ("fsync", value) if value != "1" => word.unsupported("use volatile to give up syncing"),
        ("subtype", value) if value != "layerfs" => word.unsupported("it is always layerfs"),
        ("verity", value) if value != "off" => word.unsupported("fs-verity is not supported"),
        ("bind" | "rbind" | "move", _) => word.unsupported("is for mount(8) itself"),
        _ => Ok(false),
    }
}

/// Options that have nothing to change here.
fn meaningless(word: &Word<'_>) -> Result<bool, OptionError> {
    Ok(match word.key {
        // Permissions are always checked by the kernel; inode numbers are always unique and
        // constant; hard links always stay whole; relatime is what the layers' file systems do.
        "default_permissions" | "xino" | "index" | "relatime" | "diratime" => true,
        // Asked for what is so: the other values were refused before.
        "nfs_export" | "xattr_permissions" | "noxattrs" | "fsync" | "subtype" | "verity" => true,
        // Hints about speed, which change nothing that can be seen.
        "max_idle_threads" | "clone_fd" | "fast_ino" | "writeback" => true,
        // What /proc/mounts shows of us: mount -o remount gives it back.
        "user_id" | "group_id" | "rootmode" | "max_read" => true,
        // Directories always have one link here.
        "static_nlink" => true,
        // Words of fstab(5) for mount(8), systemd and other readers.
        "defaults" | "auto" | "noauto" | "user" | "nouser" | "users" | "owner" | "group"
        | "_netdev" | "nofail" | "comment" => true,
        key => key.starts_with("x-") || key.starts_with("X-"),
    })
}

/// `timeout=`: seconds, with a fraction if wanted.
fn seconds(word: &Word<'_>) -> Result<Duration, OptionError> {
    let wanted = "a number of seconds, 0 or more";
    let seconds: f64 = word.value().parse().map_err(|_| word.wrong(wanted))?;
    if seconds.is_finite() && seconds >= FOREVER.as_secs_f64() {
        return Ok(FOREVER);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| word.wrong(wanted))
}

fn threads(word: &Word<'_>) -> Result<usize, OptionError> {
    match word.value().parse() {
        Ok(threads @ 1..=MAX_THREADS) => Ok(threads),
        _ => Err(word.wrong("a number from 1 to 256")),
    }
}

/// The pieces between unescaped `separator`s, escapes kept.
fn split(list: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < list.len() {
        match list[at] {
            b'\\' => at += 1,
            byte if byte == separator => {
                pieces.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    pieces.push(&list[start..]);
    pieces
}

/// Takes the backslash off whatever it stands before; one at the very end stays.
fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(if byte == b'\\' {
            rest.next().copied().unwrap_or(byte)
        } else {
            byte
        });
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
