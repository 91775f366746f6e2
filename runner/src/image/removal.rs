//! Removing names and images, and sweeping what nothing needs.

use super::error::io;
use super::layers::Layers;
use super::pins;
use super::record::is_id;
use super::scratch::{Scratch, flush, names, remove};
use super::{ImageError, Record, Reference, Store};
use std::collections::BTreeSet;
use std::fs;

/// What was removed, in docker's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that mean nothing any more.
    pub untagged: Vec<Reference>,
    /// The image, if nothing keeps it: 64 hexadecimal digits.
    pub image: Option<String>,
    /// Its layers that no other image needs, topmost first.
    pub layers: Vec<String>,
    /// Bytes of file contents of those.
    pub bytes: u64,
}

impl Store {
    /// Removes a name, and the image and its layers if that was its last one; or, given an id, an
    /// image with all its names. With `force`, an image with names in several repositories, and
    /// one that containers need (whose layers then stay until they are removed).
    ///
    /// # Errors
    /// An unknown name; [`ImageError::InUse`] when a container needs the image, running or not;
    /// [`ImageError::SeveralNames`].
    pub fn remove(&self, name: &str, force: bool) -> Result<Removed, ImageError> {
        let names_lock = self.names_alone()?;
        let record = self.find(name)?;
        let own = name.parse::<Reference>().ok();
        let own = own.filter(|own| record.names.contains(own));
        let gone = gone_names(&record, own.as_ref(), force)?;
        let mut removed = Removed {
            untagged: gone,
            ..Removed::default()
        };
        let last = removed.untagged.len() == record.names.len();
        if last {
            self.check_unused(&record, name, force)?;
        }
        for reference in &removed.untagged {
            let file = self.tags().join(reference.file_name());
            fs::remove_file(&file).map_err(io("remove", &file))?;
        }
        flush(&self.tags())?;
        if last {
            let others = self.list()?;
            let others = others.iter().filter(|other| other.id != record.id);
            let kept: BTreeSet<&String> = others.flat_map(|other| &other.layers).collect();
            remove(&self.image(&record.id))?;
            flush(&self.images())?;
            let free = record.layers.iter().rev().filter(|id| !kept.contains(id));
            removed.layers = free.cloned().collect();
            removed.bytes = self.size_of(&removed.layers);
            removed.image = Some(record.id);
        }
        drop(names_lock);
        self.sweep()?;
        Ok(removed)
    }

    /// Removes the images that no container needs: those without a name, or `all`; but only those
    /// that `wanted` says. One that is in use stays.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn prune(
        &self,
        all: bool,
        mut wanted: impl FnMut(&Record) -> bool,
    ) -> Result<Vec<Removed>, ImageError> {
        let mut removed = Vec::new();
        for record in self.list()? {
            let tagged = record.names.iter().any(|name| name.digest().is_none());
            if (tagged && !all) || !wanted(&record) {
                continue;
            }
            if pins::of_image(&self.pins(), &record.id)?.is_some() {
                continue;
            }
            match self.remove_all_names(&record) {
                Ok(one) => removed.push(one),
                Err(ImageError::InUse { .. } | ImageError::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // Also what an image left that went by force while a container needed it.
        self.sweep()?;
        Ok(removed)
    }

    fn remove_all_names(&self, record: &Record) -> Result<Removed, ImageError> {
        let mut whole = Removed::default();
        for name in &record.names {
            let one = self.remove(&name.to_string(), false)?;
            whole.untagged.extend(one.untagged);
            if one.image.is_some() {
                return Ok(Removed {
                    untagged: whole.untagged,
                    ..one
                });
            }
        }
        self.remove(&record.id, false)
    }

    /// Removes scratch and layers that no image needs, unless an import is at work.
    pub(super) fn sweep(&self) -> Result<(), ImageError> {
        let Some(_alone) = self.try_lock(&self.root().join("store.lock"))? else {
            return Ok(());
        };
        // A damaged record may name any layer: then all are kept.
        let records = self.list().ok();
        for directory in self.directories() {
            for name in names(&directory)?
                .iter()
                .filter(|name| Scratch::is_name(name))
            {
                remove(&directory.join(name))?;
            }
        }
        // Before the layers: an index whose layers are gone would be refused.
        let Some(records) = records else {
            return Ok(());
        };
        let idle = self.layers_of_none(&records)?;
        self.sweep_stacks(&records)?;
        idle.iter().try_for_each(|id| self.remove_layer(id))
    }

    /// The layers of which there is a file, or a lock only, and that no image needs. A damaged record may
    /// name any layer: then there are none.
    pub(super) fn layers_of_no_image(&self) -> Result<BTreeSet<String>, ImageError> {
        let Ok(records) = self.list() else {
            return Ok(BTreeSet::new());
        };
        self.layers_of_none(&records)
    }

    fn layers_of_none(&self, records: &[Record]) -> Result<BTreeSet<String>, ImageError> {
        let needed = records.iter().flat_map(|record| &record.layers);
        let needed: BTreeSet<&str> = needed.map(String::as_str).collect();
        let found = names(self.layers.root())?;
        let found = found.iter().filter_map(|name| Layers::owner(name));
        let idle = found.filter(|id| !needed.contains(id));
        Ok(idle.map(str::to_owned).collect())
    }

    /// Removes a layer unless it is in use.
    fn remove_layer(&self, id: &str) -> Result<(), ImageError> {
        let Some(_lock) = self.try_lock(&self.lock_of(id))? else {
            return Ok(());
        };
        // Looked at under the lock: whoever pins a layer holds that until the pin is there.
        if pins::layers(&self.pins())?.contains(id) {
            return Ok(());
        }
        self.layers.remove(id)?;
        remove(&self.lock_of(id))
    }

    fn check_unused(&self, record: &Record, name: &str, force: bool) -> Result<(), ImageError> {
        let in_use = |container: Option<String>| ImageError::InUse {
            name: name.to_owned(),
            container,
        };
        if force {
            return Ok(());
        }
        if let Some(container) = pins::of_image(&self.pins(), &record.id)? {
            return Err(in_use(Some(container)));
        }
        let others = self.list()?;
        let others = others.iter().filter(|other| other.id != record.id);
        let kept: BTreeSet<&String> = others.flat_map(|other| &other.layers).collect();
        for id in record
            .layers
            .iter()
            .filter(|id| is_id(id) && !kept.contains(id))
        {
            let path = self.lock_of(id);
            if path.exists() && self.try_lock(&path)?.is_none() {
                return Err(in_use(None));
            }
        }
        Ok(())
    }
}

/// The names that go.
fn gone_names(
    record: &Record,
    own: Option<&Reference>,
    force: bool,
) -> Result<Vec<Reference>, ImageError> {
    let Some(own) = own else {
        let repositories: BTreeSet<&str> = record.names.iter().map(Reference::name).collect();
        let tags = record.names.iter().filter(|name| name.digest().is_none());
        if !force && (repositories.len() > 1 || tags.count() > 1) {
            return Err(ImageError::SeveralNames {
                id: record.short_id().to_owned(),
            });
        }
        return Ok(record.names.clone());
    };
    let rest = record.names.iter().filter(|name| *name != own);
    // Digests go with the last tag of their repository, as docker has it.
    let tagged = |name: &&Reference| name.digest().is_none() && name.name() == own.name();
    let orphaned = own.digest().is_none() && !rest.clone().any(|name| tagged(&name));
    let mut gone = vec![own.clone()];
    if orphaned {
        let digests = rest.filter(|name| name.digest().is_some() && name.name() == own.name());
        gone.extend(digests.cloned());
    }
    Ok(gone)
}
