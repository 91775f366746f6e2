//! A writable layerfs mount with a plain copy of the merged tree beside it: how most tests of the
//! contract begin. [`Stage::both`] does the same thing on both and compares what it gives.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use crate::layers::Layer;
use crate::lowers::Lowers;
use crate::mounts::{Mount, Union};
use crate::packs;
use crate::scratch::Scratch;
use crate::snapshot::{Snapshot, View, plain_copy};

/// Times since this second (2017) were made by the test; those of layers lie before.
pub const START: i64 = 1_500_000_000;

/// See the module. Fields drop in this order: unmounted, lowers compared, directory removed.
#[derive(Debug)]
pub struct Stage {
    mount: Option<Mount>,
    guard: Lowers,
    /// What is mounted.
    pub union: Union,
    plain: PathBuf,
    /// Where all of it lies.
    pub scratch: Scratch,
}

impl Stage {
    /// Writes the layers (topmost first), mounts them writable and copies the merged tree.
    pub fn new(layers: &[Layer]) -> Self {
        Self::with(layers, &[])
    }

    /// The same with `-o` options.
    pub fn with(layers: &[Layer], options: &[&str]) -> Self {
        Self::over(layers, options, |trees, _| trees)
    }

    /// The same as [`Self::new`] over packed layers.
    pub fn packed(layers: &[Layer]) -> Self {
        Self::over(layers, &[], |trees, _| packed(trees))
    }

    /// The same over the merged index of packed layers.
    pub fn merged(layers: &[Layer]) -> Self {
        Self::over(layers, &[], |trees, scratch| {
            vec![packs::merged(&packed(trees), &scratch.join("image.idx"))]
        })
    }

    /// Over what `form` makes of the layers' directories.
    fn over(
        layers: &[Layer],
        options: &[&str],
        form: impl Fn(Vec<PathBuf>, &Scratch) -> Vec<PathBuf>,
    ) -> Self {
        let scratch = Scratch::new();
        let trees = layers
            .iter()
            .enumerate()
            .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
            .collect();
        let lowers = form(trees, &scratch);
        let mut union = Union::of(&lowers, scratch.dir("merged"))
            .upper(scratch.dir("upper"), scratch.dir("work"));
        union.options = options.iter().map(|o| (*o).to_owned()).collect();
        let guard = Lowers::guard(&lowers);
        let mount = union.layerfs();
        let plain = scratch.join("plain");
        plain_copy(mount.path(), &plain);
        Self {
            mount: Some(mount),
            guard,
            union,
            plain,
            scratch,
        }
    }

    /// A path in the merged tree.
    pub fn m(&self, path: impl AsRef<Path>) -> PathBuf {
        self.union.point.join(path)
    }

    /// A path in the plain copy.
    pub fn p(&self, path: impl AsRef<Path>) -> PathBuf {
        self.plain.join(path)
    }

    /// A path in the upper.
    pub fn u(&self, path: impl AsRef<Path>) -> PathBuf {
        self.union.upper.as_ref().unwrap().0.join(path)
    }

    /// The mount.
    pub fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    /// Does the same on the plain copy and on the union; both must give the same.
    #[track_caller]
    pub fn both<T: PartialEq + Debug>(&self, work: impl FnMut(&Path) -> T) {
        let _ = self.ask_both(work);
    }

    /// The same, and tells what both gave.
    #[track_caller]
    pub fn ask_both<T: PartialEq + Debug>(&self, mut work: impl FnMut(&Path) -> T) -> T {
        let wanted = work(&self.plain);
        let found = work(&self.union.point);
        assert_eq!(found, wanted, "left: on the union, right: on a plain tree");
        wanted
    }

    /// The merged tree must be the plain one.
    #[track_caller]
    pub fn same(&self, what: &str) {
        let view = View::since(START);
        Snapshot::of(&self.plain, &view).assert_same(&Snapshot::of(&self.union.point, &view), what);
    }

    /// The merged tree must be the plain one, now and after a remount; the lowers unchanged.
    #[track_caller]
    pub fn same_after_remount(&mut self) {
        self.same("before a remount");
        self.remount();
        self.same("after a remount");
        self.guard.check();
    }

    /// Unmounts and mounts again.
    #[track_caller]
    pub fn remount(&mut self) {
        self.mount.take().unwrap().unmount();
        self.mount = Some(self.union.layerfs());
    }

    /// Unmounts for good.
    #[track_caller]
    pub fn unmount(&mut self) {
        self.mount.take().unwrap().unmount();
    }

    /// Gives the mount away, e.g. to kill its daemon.
    pub fn take_mount(&mut self) -> Mount {
        self.mount.take().unwrap()
    }

    /// Mounts again after [`Self::take_mount`] or [`Self::unmount`].
    #[track_caller]
    pub fn mount_again(&mut self) {
        self.mount = Some(self.union.layerfs());
    }
}

fn packed(trees: Vec<PathBuf>) -> Vec<PathBuf> {
    let pack = |tree: PathBuf| packs::of_directory(&tree, &tree.with_extension("lfs"));
    trees.into_iter().map(pack).collect()
}

/// An error as its number, to be compared.
pub fn code<T>(result: io::Result<T>) -> Result<T, i32> {
    result.map_err(|e| e.raw_os_error().unwrap_or_else(|| panic!("no errno: {e}")))
}

/// The same for rustix.
pub fn raw<T>(result: Result<T, rustix::io::Errno>) -> Result<T, i32> {
    result.map_err(|e| e.raw_os_error())
}
