//! Layers and upper become a file system.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::Mode;

use super::FileSystem;
use super::settle::Waiting;
use crate::error::{OpenError, Result};
use crate::inode::{Anchor, Directory, Handles, Node, Place, State, Table, UpperPlace};
use crate::layer::{Layer, LayerDir, Trust};
use crate::marks::{Found, Opaque};
use crate::sys::fdcache::FdCache;
use crate::sys::mounts::{is_top, lies_in, open_directory};
use crate::types::{Config, Kind, Metacopy, NodeId, UpperConfig};
use crate::union::lower::{Layers, Stack, lower_number};
use crate::union::numbers::LAYERS_MAX;
use crate::upper::Upper;

impl FileSystem {
    /// Opens the layers, takes the upper's locks, recovers what a crash left.
    ///
    /// With `read_only`, the upper is the topmost layer and nothing is written or locked. Sets the
    /// process's umask to 0: modes are worked out from the caller's.
    ///
    /// # Errors
    /// [`OpenError`], which says what is wrong with which path; nothing is left behind.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        if config.lowers.is_empty() {
            return Err(OpenError::NoLower);
        }
        let fds = Arc::new(FdCache::new());
        let writable = config.upper.as_ref().filter(|_| !config.read_only);
        let hidden = match &config.upper {
            Some(upper) => check_overlaps(config, upper)?,
            None => Vec::new(),
        };
        let layers = open_layers(config, &hidden, &fds)?;
        if let Some(upper) = config.upper.as_ref().filter(|_| config.read_only) {
            Upper::check_readable(upper)?;
        }
        let upper = match writable {
            Some(upper) => Some(Upper::open(upper, config.volatile, &fingerprint(&layers)?)?),
            None => None,
        };
        refuse_untrusted(&layers)?;
        rustix::process::umask(Mode::empty());
        let root = root_node(&layers, upper.as_ref(), &fds)?;
        let file_system = Self {
            layers: Layers(layers),
            upper,
            table: Table::new(root),
            files: Handles::starting_at(1),
            dirs: Handles::starting_at(2),
            fds,
            metacopy: config.metacopy,
            noatime: config.noatime,
            waiting: Waiting::default(),
            renames: Mutex::new(()),
        };
        file_system
            .recover()
            .map_err(|source| OpenError::Recovery {
                path: config
                    .upper
                    .as_ref()
                    .map_or_else(PathBuf::new, |upper| upper.upper.clone()),
                source,
            })?;
        Ok(file_system)
    }

    /// The clean end: everything is on disk, and says so.
    pub fn close(&self) -> Result<()> {
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        self.settle_at_close(upper)?;
        upper.close()
    }
}

fn open_layers(
    config: &Config,
    hidden: &[(u64, u64)],
    fds: &Arc<FdCache>,
) -> Result<Stack, OpenError> {
    let trust = Trust {
        redirect: config.trust_redirect,
        metacopy: config.metacopy == Metacopy::Follow,
    };
    // An upper that is only read is a layer that we trust: it is ours.
    let ours = Trust {
        redirect: true,
        metacopy: true,
    };
    let own = config.upper.iter().filter(|_| config.read_only);
    let paths: Vec<(&Path, Trust)> = own
        .map(|upper| (&*upper.upper, ours))
        .chain(config.lowers.iter().map(|path| (&**path, trust)))
        .collect();
    if paths.len() > LAYERS_MAX {
        return Err(lower_error(
            &config.lowers[0],
            io::Error::other(format!("more than {LAYERS_MAX} layers")),
        ));
    }
    let count = paths.len();
    let open = |(index, (path, trust)): (usize, (&Path, Trust))| {
        let hidden = if trust == ours && index == 0 {
            Vec::new()
        } else {
            hidden.to_vec()
        };
        Layer::open(path, (count - index) as u16, trust, hidden, fds.clone())
            .map_err(|error| lower_error(path, error.into()))
    };
    paths.into_iter().enumerate().map(open).collect()
}

fn lower_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Path {
        role: "lower",
        path: path.to_owned(),
        source,
    }
}

/// What we write must not lie in a lower, nor a lower in it: it would change below us. Only with `/` as a
/// lower that cannot be helped: then the two trees are hidden from the layer. Gives the trees to hide.
fn check_overlaps(config: &Config, upper: &UpperConfig) -> Result<Vec<(u64, u64)>, OpenError> {
    let open = |role, path: &Path| {
        open_directory(path).map_err(|error| OpenError::Path {
            role,
            path: path.to_owned(),
            source: error.into(),
        })
    };
    let ours: [(&'static str, &Path, OwnedFd); 2] = [
        ("upper", &upper.upper, open("upper", &upper.upper)?),
        ("work", &upper.work, open("work", &upper.work)?),
    ];
    for path in &config.lowers {
        let lower = open("lower", path)?;
        for (role, ours_path, fd) in &ours {
            let error = |error: rustix::io::Errno| lower_error(path, error.into());
            if lies_in(&lower, fd).map_err(error)? {
                return Err(OpenError::Overlap {
                    inner_role: "lower",
                    inner: path.clone(),
                    outer_role: role,
                    outer: (*ours_path).to_owned(),
                });
            }
            if lies_in(fd, &lower).map_err(error)? && !is_top(&lower).map_err(error)? {
                return Err(OpenError::Overlap {
                    inner_role: role,
                    inner: (*ours_path).to_owned(),
                    outer_role: "lower",
                    outer: path.clone(),
                });
            }
        }
    }
    let identity = |fd: &OwnedFd| {
        rustix::fs::fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|error| lower_error(&upper.upper, error.into()))
    };
    Ok(vec![identity(&ours[0].2)?, identity(&ours[1].2)?])
}

/// What the index of the upper depends on: the layers' roots, from the lowest up, so that it is known
/// again when it is the same stack.
fn fingerprint(layers: &Stack) -> Result<String, OpenError> {
    let mut lines = String::from("1\n");
    for root in layers.iter().rev() {
        let stat = root
            .own_stat()
            .map_err(|error| lower_error(&root.layer().path, io::Error::other(error)))?;
        lines.push_str(&format!("{} {:x}\n", root.layer().position, stat.st_ino));
    }
    Ok(lines)
}

/// R4, as early as it costs nothing: marks on a layer's root and on what lies directly in it are
/// refused at once; deeper ones when they are met.
fn refuse_untrusted(layers: &Stack) -> Result<(), OpenError> {
    for root in layers.iter() {
        let layer = root.layer();
        let broken = |error| lower_error(&layer.path, io::Error::other(error));
        let untrusted = |path, what, option| OpenError::Untrusted { path, what, option };
        for entry in root.listing().map_err(broken)?.iter() {
            let Some(kind) = entry.kind else { continue };
            let path = layer.path.join(entry.name);
            if kind == rustix::fs::FileType::Directory {
                let marks = root.child(entry.name);
                let redirected = marks.marks().map_err(broken)?.redirect.is_some();
                if redirected && !layer.trust.redirect {
                    return Err(untrusted(path, "overlay.redirect", "redirect_dir=on"));
                }
            } else if let Found::Object(object) = root.lookup(entry.name).map_err(broken)?
                && object.marks.metacopy
                && !layer.trust.metacopy
            {
                return Err(untrusted(path, "overlay.metacopy", "metacopy=on"));
            }
        }
    }
    Ok(())
}

fn root_node(layers: &Stack, upper: Option<&Upper>, fds: &Arc<FdCache>) -> Result<Node, OpenError> {
    let broken = |error| OpenError::Path {
        role: "lower",
        path: layers[0].layer().path.clone(),
        source: io::Error::other(error),
    };
    let merged = merged_root(layers).map_err(broken)?;
    let stat = merged[0].own_stat().map_err(broken)?;
    let ino = lower_number(&merged[0], &stat);
    let key = fds.key();
    let (place, lowers) = match upper {
        Some(upper) => {
            let at = crate::sys::at::At::Fd(std::os::fd::AsFd::as_fd(&*upper.root));
            let object = upper.object_at(at).map_err(broken)?;
            let opaque = object.marks.opaque == Opaque::Yes;
            fds.keep(key, upper.root.clone());
            let mut place = UpperPlace::plain(Anchor::Pinned(upper.root.clone()));
            place.impure = object.marks.impure;
            (
                Place::Upper(Box::new(place)),
                if opaque { Stack::from([]) } else { merged },
            )
        }
        None => (Place::Lower(None), merged),
    };
    let directory = Directory::new(lowers, key);
    let state = State {
        links: Default::default(),
        place,
    };
    Ok(Node::new(
        NodeId::ROOT,
        ino,
        Kind::Directory,
        Some(directory),
        state,
    ))
}

/// The roots of the layers down to an opaque one.
fn merged_root(layers: &Stack) -> Result<Stack> {
    let mut merged: Vec<Arc<LayerDir>> = Vec::new();
    for root in layers.iter() {
        merged.push(root.clone());
        if root.marks()?.opaque == Opaque::Yes {
            break;
        }
    }
    Ok(merged.into())
}
