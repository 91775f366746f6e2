//! What is broken in the store, and mending it.
//!
//! ```text
//!   layers, indexes of them ──> images, which need them ──> names, which mean them ──> pins ──> what nothing needs
//! ```
//!
//! In this order each mend shows in what is looked at next: an image whose layer went goes, too, and
//! then its names. What a mend takes away can be pulled, loaded or imported again; a layer that a
//! container needs is never taken away. Names are held still meanwhile, but not while contents are read.

use super::layers::Layers;
use super::record::{self, Tag, is_id};
use super::scratch::{Scratch, flush, names, remove};
use super::{ImageError, Store, pins};
use crate::types::{Finding, Mend};
use std::collections::BTreeSet;
use std::path::Path;

/// The advice for what is gone with a mend.
const AGAIN: &str = "removed; pull, load or import it again";

impl Store {
    /// Looks at all there is; reads layers from end to end if `contents`, mends if `repair`.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn check(&self, contents: bool, repair: bool) -> Result<Vec<Finding>, ImageError> {
        let mut findings = Vec::new();
        let (pinned, damaged) = self.check_pins(repair)?;
        self.check_layers(contents, repair, &pinned, &mut findings)?;
        self.check_stacks(repair, &mut findings)?;
        {
            let _names = self.names_alone()?;
            let images = self.check_images(repair, &mut findings)?;
            self.check_tags(repair, &images, &mut findings)?;
        }
        findings.extend(damaged);
        findings.extend(self.check_rest(repair, &pinned)?);
        Ok(findings)
    }

    /// The layers that containers need, and pins that cannot be read.
    fn check_pins(&self, repair: bool) -> Result<(BTreeSet<String>, Vec<Finding>), ImageError> {
        let (mut pinned, mut findings) = (BTreeSet::new(), Vec::new());
        for path in pins::paths(&self.pins())? {
            match pins::read(&path) {
                Ok(pin) => pinned.extend(pin.layers),
                Err(error) => findings.push(
                    Finding::problem("pin-damaged", &path, error, "removed, and made anew")
                        .mend(repair, || remove(&path)),
                ),
            }
        }
        Ok((pinned, findings))
    }

    fn check_layers(
        &self,
        contents: bool,
        repair: bool,
        pinned: &BTreeSet<String>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), ImageError> {
        for name in names(self.layers.root())? {
            let Some(id) = name.strip_suffix(".lfs").filter(|id| is_id(id)) else {
                let known = Scratch::is_name(&name) || Layers::owner(&name).is_some();
                if !known {
                    findings.push(foreign(self.layers.root(), &name));
                }
                continue;
            };
            let good = match contents {
                true => self.layers.verify(id),
                false => self.layers.size(id).map(drop),
            };
            let Err(error) = good else { continue };
            let place = self.layers.lower(id);
            findings.push(match pinned.contains(id) {
                true => {
                    let advice = "runner export what is needed of its containers and remove them; then check again";
                    Finding::problem("layer-damaged", place, error, advice)
                }
                false => Finding::problem("layer-damaged", place, error, AGAIN)
                    .mend(repair, || self.remove_damaged(id)),
            });
        }
        Ok(())
    }

    /// An index is read in full: it is small.
    fn check_stacks(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), ImageError> {
        for name in names(&self.stacks())? {
            let path = self.stacks().join(&name);
            if name.strip_suffix(".idx").is_some_and(is_id) {
                let advice = "removed; containers do without, and the next pull makes it anew";
                if let Err(error) = Layers::check_merged(&path, true) {
                    findings.push(
                        Finding::problem("stack-damaged", &path, error, advice)
                            .mend(repair, || remove(&path)),
                    );
                }
            } else if !Scratch::is_name(&name) {
                findings.push(foreign(&self.stacks(), &name));
            }
        }
        Ok(())
    }

    /// Removes a layer that is no use to anybody, but not from under a command that works with it.
    fn remove_damaged(&self, id: &str) -> Result<(), String> {
        let lock = self.try_lock(&self.lock_of(id));
        match lock.map_err(|error| error.to_string())? {
            Some(_lock) => self.layers.remove(id).map_err(|error| error.to_string()),
            None => Err("it is in use".to_owned()),
        }
    }

    /// Gives the images that are whole, or whose layers are damaged only.
    fn check_images(
        &self,
        repair: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<BTreeSet<String>, ImageError> {
        let mut whole = BTreeSet::new();
        for name in names(&self.images())? {
            let Some(id) = name.strip_suffix(".json").filter(|id| is_id(id)) else {
                if !Scratch::is_name(&name) {
                    findings.push(foreign(&self.images(), &name));
                }
                continue;
            };
            let path = self.image(id);
            let read = record::read_config(&path, id).and_then(|found| {
                let ids = found
                    .map(|(_, config)| record::diff_ids(&config))
                    .transpose();
                ids.map_err(|why| record::wrong(&path, why))
            });
            let finding = match read {
                // Removed a moment ago.
                Ok(None) => continue,
                Ok(Some(layers)) => match layers.iter().find(|layer| !self.layers.has(layer)) {
                    None => None,
                    Some(gone) => {
                        let what = format!("its layer sha256:{gone} is not there");
                        Some(Finding::problem("image-incomplete", &path, what, AGAIN))
                    }
                },
                Err(error) => Some(Finding::problem("image-damaged", &path, error, AGAIN)),
            };
            let finding = finding.map(|finding| {
                finding.mend(repair, || {
                    remove(&path)?;
                    flush(&self.images())
                })
            });
            if finding
                .as_ref()
                .is_none_or(|finding| finding.mend != Mend::Done)
            {
                whole.insert(id.to_owned());
            }
            findings.extend(finding);
        }
        Ok(whole)
    }

    fn check_tags(
        &self,
        repair: bool,
        images: &BTreeSet<String>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), ImageError> {
        for name in names(&self.tags())? {
            if Scratch::is_name(&name) {
                continue;
            }
            if !name.ends_with(".json") {
                findings.push(foreign(&self.tags(), &name));
                continue;
            }
            let path = self.tags().join(&name);
            let finding = match Tag::read(&path) {
                Ok(None) => continue,
                Ok(Some((_, tag))) if images.contains(&tag.id) => continue,
                Ok(Some((reference, tag))) => {
                    let what = format!("{reference} means sha256:{}, which is not there", tag.id);
                    Finding::problem("name-dangling", &path, what, AGAIN)
                }
                Err(error) => Finding::problem("name-damaged", &path, error, AGAIN),
            };
            findings.push(finding.mend(repair, || {
                remove(&path)?;
                flush(&self.tags())
            }));
        }
        Ok(())
    }

    /// Layers that nothing needs, unless something is being added.
    fn check_rest(
        &self,
        repair: bool,
        pinned: &BTreeSet<String>,
    ) -> Result<Option<Finding>, ImageError> {
        if self.try_lock(&self.root().join("store.lock"))?.is_none() {
            return Ok(None);
        }
        let idle = self.layers_of_no_image()?.into_iter();
        let count = idle
            .filter(|id| self.layers.has(id) && !pinned.contains(id))
            .count();
        Ok((count > 0).then(|| {
            let what = format!("{count} layers of no image");
            let advice = "removed, as the next rmi would do";
            Finding::problem("unneeded", self.root(), what, advice)
                .note()
                .mend(repair, || self.sweep())
        }))
    }
}

fn foreign(directory: &Path, name: &str) -> Finding {
    let what = "nothing that a runner has made";
    Finding::problem(
        "foreign",
        directory.join(name),
        what,
        "remove it if it is not needed",
    )
    .note()
}
