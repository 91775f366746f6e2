//! Packed layers for tests: from directories and from archives of GNU tar.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::layers::{Form, Layer};
use crate::process::{Output, run};
use crate::programs;

/// Calls `layerfs` with these arguments.
pub fn layerfs(args: &[&Path]) -> Output {
    run(Command::new(programs::layerfs()).args(args))
}

/// Calls `layerfs pack`.
pub fn pack(source: &Path, output: &Path) -> Output {
    layerfs(&["pack".as_ref(), source, "-o".as_ref(), output])
}

/// Calls `layerfs unpack`, whiteouts as `.wh.` files.
pub fn unpack(layer: &Path, to: &Path) -> Output {
    let form = ["unpack", "--whiteouts", "aufs"].map(Path::new);
    layerfs(&[&form[..], &[layer, to]].concat())
}

/// Makes the archive `file` of a directory, as GNU tar does, with all it can hold.
pub fn archive(tree: &Path, file: &Path) {
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--acls", "--format=pax"]);
    run(tar.arg("-Scf").arg(file).arg("-C").arg(tree).arg(".")).ok();
}

/// Merges packed layers, topmost first, into `to`.
pub fn merged(layers: &[PathBuf], to: &Path) -> PathBuf {
    let mut merge = Command::new(programs::layerfs());
    run(merge.arg("merge").args(layers).arg("-o").arg(to)).ok();
    to.to_owned()
}

/// Unpacks an archive with GNU tar, with all it holds.
pub fn untar(file: &Path, to: &Path) -> Output {
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--acls"]);
    tar.args(["--numeric-owner", "--same-owner", "-xpf"]);
    run(tar.arg(file).arg("-C").arg(to))
}

/// Packs `layer` into `to` by the way of an archive of GNU tar, in the form of OCI; the tree and the archive
/// stay beside it, as `.d` and `.tar`.
pub fn by_archive(layer: &Layer, to: &Path) -> PathBuf {
    let tree = layer.write_as(to.with_extension("d"), Form::Oci);
    let tar = to.with_extension("tar");
    archive(&tree, &tar);
    pack(&tar, to).ok();
    to.to_owned()
}

/// Packs a directory.
pub fn of_directory(tree: &Path, to: &Path) -> PathBuf {
    pack(tree, to).ok();
    to.to_owned()
}
