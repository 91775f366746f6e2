//! What is broken in containers, volumes and networks, and mending it.
//!
//! What a container has changed and what is in a volume is never taken away: where that is at stake the
//! advice is the user's to follow.

use super::Id;
use super::directory::Directory;
use super::home::{GONE, Home};
use super::spec::Spec;
use super::volume::Volumes;
use crate::error::{Error, Result};
use crate::image::Store;
use crate::network;
use crate::publish::Reach;
use crate::types::Finding;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

impl Home {
    /// Looks at all there is, mends if `repair`. The store's own check comes before: it may take damaged
    /// pins away, which are made anew here.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn check(&self, store: &Store, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut volumes = BTreeSet::new();
        for directory in self.all()? {
            match directory.spec() {
                Ok(spec) => {
                    self.check_container(&directory, &spec, store, repair, &mut findings)?;
                    volumes.extend(spec.volumes.into_iter().filter_map(|volume| volume.name));
                }
                // Not one yet, or gone meanwhile.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let short = directory.id().short();
                    let upper = directory.join("upper");
                    let advice = format!(
                        "what it changed is in {}; runner rm -f {short} removes it",
                        upper.display()
                    );
                    let place = directory.path();
                    findings.push(Finding::problem("container-damaged", place, error, advice));
                }
            }
        }
        self.check_leftovers(store, repair, &mut findings)?;
        self.check_volumes(&volumes, &mut findings)?;
        if let Err(error) = network::State::read(self.root()) {
            let advice =
                "remove it while no container runs; networks of your own are then to be made again";
            let place = self.root().join("networks.json");
            findings.push(Finding::problem("networks-damaged", place, error, advice));
        }
        Ok(findings)
    }

    fn check_container(
        &self,
        directory: &Directory,
        spec: &Spec,
        store: &Store,
        repair: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let (id, short) = (directory.id(), directory.id().short());
        if let Some(gone) = spec.lowers.iter().find(|path| !path.exists()) {
            let what = format!("its layer {} is not there: it cannot start", gone.display());
            let advice = format!("pull, load or import {} again, or remove it", spec.image);
            findings.push(Finding::problem(
                "container-layers",
                directory.path(),
                what,
                advice,
            ));
        }
        if let Err(error) = directory.state() {
            let advice =
                format!("runner rm -f {short} removes it; commit or export keep what it changed");
            let place = directory.join("state.json");
            findings.push(Finding::problem("state-damaged", place, error, advice));
        }
        if store.needs_pin(id.as_str(), &spec.lowers) {
            let what = "nothing keeps its layers from being removed";
            let finding = Finding::problem(
                "pin-missing",
                directory.path(),
                what,
                "its layers are pinned",
            );
            let pin = || {
                store.pin(
                    id.as_str(),
                    spec.image_id.as_deref(),
                    &spec.lowers,
                    Reach::Disk,
                )
            };
            findings.push(finding.mend(repair, pin));
        }
        if self.find_name(id)?.is_none() {
            let what = "it has no name";
            let advice = format!("runner rename {short} NAME gives it one");
            findings.push(Finding::problem("name-missing", directory.path(), what, advice).note());
        }
        Ok(())
    }

    /// What commands left that were killed, as far as nobody works on it.
    fn check_leftovers(
        &self,
        store: &Store,
        repair: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let note = |code, place: PathBuf, what: &str| {
            Finding::problem(code, place, what, "removed").note()
        };
        for name in listed(&self.containers())? {
            let id = name.strip_prefix(GONE).map(str::to_owned).map(Id::try_from);
            let Some(Ok(id)) = id else { continue };
            let Some(_lock) = self.try_lock(&id)? else {
                continue;
            };
            let place = self.containers().join(&name);
            let directory = self.directory(id);
            findings.push(
                note(
                    "container-gone",
                    place,
                    "a container that was being removed",
                )
                .mend(repair, || self.discard(&directory)),
            );
        }
        let names = self.all_names()?.into_iter();
        let pins = store.pin_users()?.into_iter().map(Id::try_from);
        let named = names.map(|(id, name)| (id, Some(name)));
        for (id, name) in named.chain(pins.flatten().map(|id| (id, None))) {
            let Some(_lock) = self.try_lock(&id)? else {
                continue;
            };
            let directory = self.directory(id);
            if directory.path().exists() {
                continue;
            }
            let what = match name {
                Some(name) => format!("name {name} of a container that is not there"),
                None => "layers pinned for a container that is not there".to_owned(),
            };
            findings.push(
                note("container-gone", directory.path().to_owned(), &what)
                    .mend(repair, || self.discard(&directory)),
            );
        }
        Ok(())
    }

    fn check_volumes(&self, used: &BTreeSet<String>, findings: &mut Vec<Finding>) -> Result<()> {
        let volumes = Volumes::at(self.root());
        let all: BTreeSet<String> = volumes.all()?.into_iter().collect();
        for name in &all {
            let data = volumes.data(name);
            if let Err(error) = volumes.record(name) {
                let advice = format!(
                    "its data is in {}; runner volume rm removes it",
                    data.display()
                );
                findings.push(Finding::problem("volume-damaged", &data, error, advice));
            }
        }
        for name in used.difference(&all) {
            let what = format!("volume {name} of a container is not there");
            let advice = format!("runner volume create {name} makes an empty one");
            findings.push(Finding::problem(
                "volume-missing",
                volumes.data(name),
                what,
                advice,
            ));
        }
        Ok(())
    }
}

fn listed(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}
