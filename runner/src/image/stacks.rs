//! Merged indexes: one of the lowest layers of an image, so that a mount looks a name up once.
//!
//! ```text
//!   stacks/CHAINID.idx      of the layers that have this chain id (OCI image specification, config.md)
//!
//!   an image of layers a b c d, and an index of a b:     mounted as  d c [a b]
//! ```
//!
//! They hold nothing that the layers do not: a mount of the layers themselves shows the same, with the
//! same inode numbers. So an index may be missing, and a container need not know of it. What is pulled or
//! loaded gets one of all its layers; on what is committed or built some layers may lie loose, since a
//! lookup in one more costs 40 ns and an index of 100 000 files 50 ms.

use super::error::io;
use super::layers::Layers;
use super::record::{Record, digest};
use super::scratch::{Scratch, flush, names, remove};
use super::{ImageError, Store};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// How many layers may lie above an index, of an image that is made layer by layer.
pub const LOOSE: usize = 8;

impl Store {
    /// Makes the merged index of layers (64 digits each, lowest first), unless there is one that leaves no
    /// more than `loose` of them above. The caller holds the layers.
    ///
    /// Order: written under a name of its own, flushed, renamed, the directory flushed. An index that no
    /// image needs in the end is swept.
    ///
    /// # Errors
    /// A layer is damaged; the disk is full.
    pub fn merge(&self, layers: &[String], loose: usize) -> Result<(), ImageError> {
        let (below, above) = self.merged_below(layers);
        if above.len() <= loose.max(usize::from(below.is_none())) {
            return Ok(());
        }
        let _busy = self.busy()?;
        let directory = self.stacks();
        let scratch = Scratch::new(&directory)?;
        self.layers
            .merge(below.as_deref(), above, &directory, scratch.path())?;
        let chain = chains(layers).pop().unwrap_or_default();
        let path = self.stack(&chain);
        fs::rename(scratch.path(), &path).map_err(io("publish", &path))?;
        flush(&directory)
    }

    /// What is to be mounted for lowers (topmost first): the same, or a merged index in the place of the
    /// lowest of them.
    pub fn stacked(&self, lowers: &[PathBuf]) -> Vec<PathBuf> {
        let upwards = lowers.iter().rev();
        let own: Option<Vec<String>> = upwards.map(|path| self.layers.diff_id(path)).collect();
        let Some((Some(merged), above)) = own.as_deref().map(|own| self.merged_below(own)) else {
            return lowers.to_owned();
        };
        let mut stacked = lowers[..above.len()].to_vec();
        stacked.push(merged);
        stacked
    }

    /// The index of the most layers, and those above it.
    fn merged_below<'a>(&self, layers: &'a [String]) -> (Option<PathBuf>, &'a [String]) {
        for (number, chain) in chains(layers).iter().enumerate().skip(1).rev() {
            let path = self.stack(chain);
            if path.exists() && Layers::check_merged(&path, false).is_ok() {
                return (Some(path), &layers[number + 1..]);
            }
        }
        (None, layers)
    }

    /// Removes the indexes that none of the images (all there are) needs. The caller holds the store alone.
    pub(super) fn sweep_stacks(&self, records: &[Record]) -> Result<(), ImageError> {
        let chains = records.iter().flat_map(|record| chains(&record.layers));
        let needed: BTreeSet<String> = chains.map(|chain| format!("{chain}.idx")).collect();
        for name in names(&self.stacks())? {
            if !needed.contains(&name) {
                remove(&self.stacks().join(name))?;
            }
        }
        Ok(())
    }

    pub(super) fn stacks(&self) -> PathBuf {
        self.root().join("stacks")
    }

    fn stack(&self, chain: &str) -> PathBuf {
        self.stacks().join(format!("{chain}.idx"))
    }
}

/// The chain ids of layers (64 digits each, lowest first): each of the layers up to there.
fn chains(layers: &[String]) -> Vec<String> {
    let mut chains: Vec<String> = Vec::with_capacity(layers.len());
    for layer in layers {
        chains.push(match chains.last() {
            None => layer.clone(),
            Some(below) => digest(format!("sha256:{below} sha256:{layer}").as_bytes()),
        });
    }
    chains
}
