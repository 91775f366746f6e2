//! Where a sweep takes place: layers written once, an upper that is new at each turn.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::layers::Layer;
use tests::lowers::Lowers;
use tests::mounts::Union;
use tests::programs;
use tests::scratch::Scratch;

use crate::history::{History, dress_root};
use crate::scenarios::{Scenario, layers};

/// See the module. Fields drop in this order: lowers compared, directory removed.
pub(crate) struct Stage {
    _guard: Lowers,
    pub(crate) union: Union,
    pub(crate) history: History,
    _scratch: Scratch,
}

impl Stage {
    /// Writes the layers, and goes through the scenario on a plain tree.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let layers = layers();
        let scratch = Scratch::new();
        let write = |(i, layer): (usize, &Layer)| layer.write(scratch.join(format!("lower{i}")));
        let lowers: Vec<_> = layers.iter().enumerate().map(write).collect();
        let history = History::of(&layers, &scenario.ops, &scratch.join("plain"));
        let upper = scratch.join("upper");
        let union = Union::of(&lowers, scratch.dir("merged")).upper(upper, scratch.join("work"));
        Self {
            _guard: Lowers::guard(&lowers),
            union,
            history,
            _scratch: scratch,
        }
    }

    /// An empty upper and an empty workdir; the upper's root has the attributes of the plain root.
    pub(crate) fn renew(&self) {
        let (upper, work) = self.union.upper.as_ref().unwrap();
        for path in [upper, work] {
            let _ = fs::remove_dir_all(path);
            fs::create_dir(path).unwrap();
        }
        dress_root(upper);
    }

    /// Where copies in the making lie.
    pub(crate) fn making(&self) -> PathBuf {
        self.union.upper.as_ref().unwrap().1.join("layerfs/stage")
    }

    /// Nothing half made is left.
    pub(crate) fn nothing_is_left(&self) -> Result<(), String> {
        let left: Vec<_> = fs::read_dir(self.making())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("left in the stage: {left:?}")),
        }
    }
}

/// The inode numbers that objects have from their layers (I1), by path.
pub(crate) fn numbers(root: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for path in tests::sequences::present(root) {
        let number = fs::symlink_metadata(root.join(&path)).unwrap().ino();
        // The layer's position is above; the upper's own is 0.
        if number >> 48 != 0 {
            found.insert(path, number);
        }
    }
    found
}

/// What `layerfs check` finds that the next mount would not mend by itself.
pub(crate) fn is_sound(union: &Union) -> Result<(), String> {
    let (upper, work) = union.upper.as_ref().unwrap();
    let mut check = Command::new(programs::layerfs());
    check.arg("check").arg(upper).arg("--work").arg(work);
    for lower in &union.lowers {
        check.arg("--lower").arg(lower);
    }
    let output = tests::process::run(&mut check);
    match output.code {
        0 => Ok(()),
        _ => Err(output.to_string()),
    }
}
