//! Opening the writable diff: locks, what a crash left, the form, the index.
//!
//! Order: take both locks (nobody else may look), refuse a crashed volatile upper, empty the stage,
//! probe and remember the form, check the index against the layers, and last write the volatile marker.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, StatxFlags, flock, mkdirat, openat, statx,
};
use rustix::io::Errno;

use super::durability::Durability;
use super::stage::empty;
use super::{Form, Left, Upper};
use crate::error::OpenError;
use crate::sys::mounts::{lies_in, open_directory};
use crate::types::UpperConfig;

/// The marker of a volatile mount, in `WORK/layerfs`.
pub(crate) const VOLATILE: &str = "volatile";
/// What is ours in the workdir.
pub(crate) const HOME: &str = "layerfs";
/// The hard-linked files of layers that are in the upper, in [`HOME`].
pub(crate) const INDEX: &str = "index";
/// Where objects are made, in [`HOME`].
pub(crate) const STAGE: &str = "stage";
/// The form of the upper, in [`HOME`]: `overlay` or `aufs`.
pub(crate) const FORM: &str = "form";
/// Which layers the index speaks of, in [`HOME`].
pub(crate) const STACK: &str = "stack";

/// With whom a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// With nobody.
    No,
    /// With others who only read.
    Readers,
}

impl Upper {
    /// Opens and locks the diff. `stack` tells the layers it lies on, one line each: an index of other
    /// layers is thrown away.
    pub fn open(config: &UpperConfig, volatile: bool, stack: &str) -> Result<Self, OpenError> {
        let root = open_role("upper", &config.upper)?;
        let work = open_role("work", &config.work)?;
        check_apart(config, &root, &work)?;
        check_one_mount(config, &root, &work)?;
        let root_lock = lock("upper", &config.upper, &root, Share::No)?;
        let home = subdirectory(&work, HOME).map_err(|error| path_error("work", config, error))?;
        let home_lock = lock("work", &config.work, &home, Share::No)?;
        let marker = config.work.join(HOME).join(VOLATILE);
        if marker.exists() {
            return Err(OpenError::VolatileCrash {
                upper: config.upper.clone(),
                marker,
            });
        }
        let unfit = |what: &'static str| {
            move |error: Errno| OpenError::Unfit {
                path: config.upper.clone(),
                what,
                source: error.into(),
            }
        };
        let durability = Durability::new(home.as_fd(), volatile);
        let left = durability
            .left(home.as_fd())
            .map_err(|error| OpenError::Unfit {
                path: config.upper.clone(),
                what: "looking for unsynced copies",
                source: io::Error::other(error),
            })?;
        let stage = subdirectory(&home, STAGE).map_err(unfit("making the stage"))?;
        let index = subdirectory(&home, INDEX).map_err(unfit("making the index"))?;
        let mut upper = Self {
            root: Arc::new(root),
            form: Form::Overlay,
            volatile,
            left,
            durability,
            stage,
            index,
            next: AtomicU64::new(0),
            home,
            _locks: vec![root_lock, home_lock],
        };
        upper.empty_stage().map_err(unfit("emptying the stage"))?;
        upper.form = upper.choose_form(config)?;
        upper.check_index(config, stack)?;
        if volatile {
            fs::write(&marker, "").map_err(|source| OpenError::Unfit {
                path: config.upper.clone(),
                what: "writing the volatile marker",
                source,
            })?;
        }
        Ok(upper)
    }

    /// The form in which this upper was begun; at its first opening, the best that is possible here. It is
    /// written down before anything is written in it: later the host may be able to do more, and what
    /// the other form says would not be understood.
    fn choose_form(&self, config: &UpperConfig) -> Result<Form, OpenError> {
        let path = config.work.join(HOME).join(FORM);
        let unfit = |what, source| OpenError::Unfit {
            path: config.upper.clone(),
            what,
            source,
        };
        let known = match fs::read_to_string(&path) {
            Ok(word) => Some(Form::from_word(word.trim_end()).ok_or_else(|| {
                let word = format!("{} says {word:?}", path.display());
                let source = io::Error::new(io::ErrorKind::InvalidData, word);
                unfit("its form is not known to this version", source)
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unfit("reading its form", error)),
        };
        if known == Some(Form::Aufs) {
            return Ok(Form::Aufs);
        }
        let possible = Form::probe(self.stage.as_fd())
            .map_err(|errno| unfit("probing its abilities", errno.into()))?;
        match (known, possible) {
            (Some(Form::Overlay), Form::Aufs) => {
                let why = "needs the right to make device nodes and trusted attributes (root)";
                let source = io::Error::new(io::ErrorKind::PermissionDenied, why);
                Err(unfit("it is in overlayfs's form", source))
            }
            (Some(_), form) => Ok(form),
            (None, form) => {
                self.write_down(&path, &format!("{}\n", form.word()))
                    .map_err(|error| unfit("writing its form down", error))?;
                Ok(form)
            }
        }
    }

    /// Refuses an upper that is only to be read while it holds copies that a power cut may have spoilt.
    pub fn check_readable(config: &UpperConfig) -> Result<(), OpenError> {
        let work = open_role("work", &config.work)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(home) = openat(&work, HOME, flags, Mode::empty()) else {
            // Never written by us.
            return Ok(());
        };
        match Durability::new(home.as_fd(), false).left(home.as_fd()) {
            Ok(Left::Nothing | Left::Cached) => Ok(()),
            _ => Err(OpenError::NeedsRecovery {
                path: config.upper.clone(),
            }),
        }
    }

    /// The index names lower inodes; over other layers those are other files, so it starts anew.
    fn check_index(&self, config: &UpperConfig, stack: &str) -> Result<(), OpenError> {
        let path = config.work.join(HOME).join(STACK);
        let error = |source: io::Error| OpenError::Unfit {
            path: config.upper.clone(),
            what: "reading or writing the list of layers in work",
            source,
        };
        match fs::read_to_string(&path) {
            Ok(known) if known == stack => return Ok(()),
            Ok(_) => {
                tracing::warn!(
                    upper = %config.upper.display(),
                    "the layers below this upper have changed: hard links across copy-up are forgotten"
                );
                empty(self.index.as_fd()).map_err(|errno| error(errno.into()))?;
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(error(other)),
        }
        self.write_down(&path, stack).map_err(error)
    }

    /// Writes a file that is there whole or not at all, whatever happens. What lies in the upper is read by
    /// what it says: its data has to be on disk before its name.
    fn write_down(&self, path: &Path, text: &str) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        if !self.volatile {
            file.sync_data()?;
        }
        fs::rename(&fresh, path)
    }
}

/// Opens a directory of that role.
pub(crate) fn open_role(role: &'static str, path: &Path) -> Result<OwnedFd, OpenError> {
    open_directory(path).map_err(|error| OpenError::Path {
        role,
        path: path.to_owned(),
        source: error.into(),
    })
}

fn path_error(role: &'static str, config: &UpperConfig, error: Errno) -> OpenError {
    OpenError::Path {
        role,
        path: config.work.clone(),
        source: error.into(),
    }
}

fn check_apart(config: &UpperConfig, upper: &OwnedFd, work: &OwnedFd) -> Result<(), OpenError> {
    let error = |error| path_error("work", config, error);
    if lies_in(work, upper).map_err(error)? {
        return Err(OpenError::Overlap {
            inner_role: "work",
            inner: config.work.clone(),
            outer_role: "upper",
            outer: config.upper.clone(),
        });
    }
    if lies_in(upper, work).map_err(error)? {
        return Err(OpenError::Overlap {
            inner_role: "upper",
            inner: config.upper.clone(),
            outer_role: "work",
            outer: config.work.clone(),
        });
    }
    Ok(())
}

/// Renames from the stage to the upper must work: one file system and one mount.
fn check_one_mount(config: &UpperConfig, upper: &OwnedFd, work: &OwnedFd) -> Result<(), OpenError> {
    let place = |fd: &OwnedFd| {
        let flags = AtFlags::EMPTY_PATH;
        let found = statx(fd, c"", flags, StatxFlags::MNT_ID)
            .map_err(|error| path_error("work", config, error))?;
        Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_mnt_id))
    };
    if place(upper)? != place(work)? {
        return Err(OpenError::DifferentFileSystems {
            upper: config.upper.clone(),
            work: config.work.clone(),
        });
    }
    Ok(())
}

/// Takes the lock of a directory, which ends with the process whatever happens to it.
pub(crate) fn lock(
    role: &'static str,
    path: &Path,
    dir: &OwnedFd,
    share: Share,
) -> Result<OwnedFd, OpenError> {
    let error = |error: Errno| match error {
        Errno::WOULDBLOCK => OpenError::InUse {
            role,
            path: path.to_owned(),
        },
        other => OpenError::Path {
            role,
            path: path.to_owned(),
            source: other.into(),
        },
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(dir, c".", flags, Mode::empty()).map_err(error)?;
    let operation = match share {
        Share::No => FlockOperation::NonBlockingLockExclusive,
        Share::Readers => FlockOperation::NonBlockingLockShared,
    };
    flock(&fd, operation).map_err(error)?;
    Ok(fd)
}

/// Makes and opens a directory that only we enter.
fn subdirectory(parent: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}
