//! Layers and upper become a file system.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Mode;

use super::FileSystem;
use super::settle::Waiting;
use crate::error::{OpenError, Result};
use crate::inode::{Anchor, Directory, Handles, Node, Place, State, Table, Unopened, UpperPlace};
use crate::layer::Trust;
use crate::marks::{Found, Opaque};
use crate::sys::fdcache::FdCache;
use crate::sys::lock::Mutex;
use crate::types::{Config, Kind, Metacopy, NodeId};
use crate::union::lower::{Layers, Stack};
use crate::union::numbers::lower_number;
use crate::union::stack::{Source, check_apart, lower_error};
use crate::upper::{Origin, Upper};

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
            Some(ours) => {
                let ours = [("upper", &*ours.upper), ("work", &*ours.work)];
                check_apart(&config.lowers, &ours)?
            }
            None => Vec::new(),
        };
        let layers = Layers::open(sources(config, hidden), &fds)?;
        if let Some(upper) = config.upper.as_ref().filter(|_| config.read_only) {
            Upper::check_readable(upper)?;
        }
        let upper = match writable {
            Some(upper) => Some(Upper::open(upper, config.volatile, &layers.fingerprint()?)?),
            None => None,
        };
        refuse_untrusted(&layers)?;
        rustix::process::umask(Mode::empty());
        let root = root_node(&layers, upper.as_ref(), &fds)?;
        let file_system = Self {
            layers,
            upper,
            table: Table::new(root),
            files: Handles::default(),
            unopened: Unopened::default(),
            fds,
            metacopy: config.metacopy,
            noatime: config.noatime,
            waiting: Waiting::default(),
            renames: Mutex::new(()),
            copy_ups: Default::default(),
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

/// The sources of the layers, topmost first.
fn sources<'a>(config: &'a Config, hidden: Vec<(u64, u64)>) -> Vec<Source<'a>> {
    let trust = Trust {
        redirect: config.trust_redirect,
        metacopy: config.metacopy == Metacopy::Follow,
    };
    // An upper that is only read is a layer that we trust: it is ours.
    let own = config.upper.iter().filter(|_| config.read_only);
    let own = own.map(|upper| Source {
        path: &upper.upper,
        trust: Trust::ALL,
        hidden: Vec::new(),
    });
    let lowers = config.lowers.iter().map(|path| Source {
        path,
        trust,
        hidden: hidden.clone(),
    });
    own.chain(lowers).collect()
}

/// R4, as early as it costs nothing: marks on a layer's root and on what lies directly in it are
/// refused at once; deeper ones when they are met.
fn refuse_untrusted(layers: &Layers) -> Result<(), OpenError> {
    for root in layers.0.iter() {
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

fn root_node(
    layers: &Layers,
    upper: Option<&Upper>,
    fds: &Arc<FdCache>,
) -> Result<Node, OpenError> {
    let broken = |error| OpenError::Path {
        role: "lower",
        path: layers.0[0].layer().path.clone(),
        source: io::Error::other(error),
    };
    let merged = layers.merged_root().map_err(broken)?;
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
            place.origin = object.marks.origin.as_deref().and_then(Origin::decode);
            place.kept = place.origin.and_then(|origin| origin.kept);
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
