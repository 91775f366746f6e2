//! Changes: new names, and lower files that are changed.

use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat, mkdirat, renameat, unlinkat};

use super::data::small_paths;
use crate::compare::client::{append, create, numbered, walk};
use crate::compare::error::{Context, Result};
use crate::compare::fixture::Part;
use crate::compare::samples::{Row, Unit};
use crate::compare::scenario::Scenario;

const NAMES: &str = "New names";
const LOWER: &str = "Lower files changed";

pub(super) fn all() -> Vec<Scenario> {
    vec![new_names(), small_copies(), large_copy()]
}

/// Files and directories are made, renamed and removed in a directory of the layers.
fn new_names() -> Scenario {
    let row = |name| Row::new(NAMES, name, Unit::Micros);
    let rows = vec![
        row("create a 4 KiB file").target(1.3, 1.3),
        row("rename").target(1.8, 1.8),
        row("unlink").target(2.5, 2.5),
        row("mkdir").target(1.8, 1.8),
        row("rmdir").target(1.3, 1.3),
    ];
    let scenario = Scenario::new("new names", &[Part::Work], rows, |bench| {
        let count = bench.common.scale.names;
        let [old, new, directories] =
            ["file", "renamed", "dir"].map(|stem| numbered("srv/work", stem, count));
        let data = [b'x'; 4096];
        bench.fresh()?;
        walk(bench.root()?.fd.as_fd(), c"srv/work")?;
        bench.time("create a 4 KiB file", |root| {
            each(&old, |path| create(root.fd.as_fd(), path, &data))
        })?;
        bench.time("rename", |root| {
            let at = root.fd.as_fd();
            for (old, new) in old.iter().zip(&new) {
                renameat(at, old, at, new).on("rename")?;
            }
            Ok(count)
        })?;
        bench.time("unlink", |root| {
            each(&new, |path| {
                unlinkat(root.fd.as_fd(), path, AtFlags::empty()).on("unlink")
            })
        })?;
        bench.time("mkdir", |root| {
            let mode = Mode::from_raw_mode(0o755);
            each(&directories, |path| {
                mkdirat(root.fd.as_fd(), path, mode).on("mkdir")
            })
        })?;
        bench.time("rmdir", |root| {
            each(&directories, |path| {
                unlinkat(root.fd.as_fd(), path, AtFlags::REMOVEDIR).on("rmdir")
            })
        })
    });
    scenario.changes(&["srv/work"])
}

fn each(paths: &[CString], mut operation: impl FnMut(&CString) -> Result<()>) -> Result<usize> {
    for path in paths {
        operation(path)?;
    }
    Ok(paths.len())
}

/// Small files of the layers are changed, each for the first time.
fn small_copies() -> Scenario {
    let row = |name| Row::new(LOWER, name, Unit::Micros);
    let rows = vec![
        row("append 1 byte to a small file").target(0.2, 0.2),
        row("the same, with one sync for all"),
        row("chmod"),
        row("chown"),
        row("rename of a lower file"),
        row("unlink of a lower file"),
    ];
    let scenario = Scenario::new("copy-up", &[Part::Small], rows, |bench| {
        let count = bench.common.scale.copies;
        let paths = small_paths(6 * count);
        let sets: Vec<_> = paths.chunks(count).collect();
        let renamed = numbered("srv/small", "renamed", count);
        bench.warm_layers("srv/small")?;
        bench.fresh()?;
        walk(bench.root()?.fd.as_fd(), c"srv/small")?;
        let appended = |at: &crate::compare::bench::Root, set: &[CString]| {
            each(set, |path| append(at.fd.as_fd(), path, b"x"))
        };
        bench.time("append 1 byte to a small file", |root| {
            appended(root, sets[0])
        })?;
        bench.settle()?;
        bench.time("the same, with one sync for all", |root| {
            let done = appended(root, sets[1])?;
            let directory = crate::compare::client::directory(root.fd.as_fd(), c"srv")?;
            rustix::fs::syncfs(directory).on("syncfs")?;
            Ok(done)
        })?;
        bench.time("chmod", |root| {
            let mode = Mode::from_raw_mode(0o600);
            each(sets[2], |path| {
                chmodat(root.fd.as_fd(), path, mode, AtFlags::empty()).on("chmod")
            })
        })?;
        bench.time("chown", |root| {
            let (user, group) = (Some(Uid::from_raw(1000)), Some(Gid::from_raw(1000)));
            each(sets[3], |path| {
                chownat(
                    root.fd.as_fd(),
                    path,
                    user,
                    group,
                    AtFlags::SYMLINK_NOFOLLOW,
                )
                .on("chown")
            })
        })?;
        bench.time("rename of a lower file", |root| {
            let at = root.fd.as_fd();
            for (old, new) in sets[4].iter().zip(&renamed) {
                renameat(at, old, at, new).on("rename")?;
            }
            Ok(count)
        })?;
        bench.time("unlink of a lower file", |root| {
            each(sets[5], |path| {
                unlinkat(root.fd.as_fd(), path, AtFlags::empty()).on("unlink")
            })
        })
    });
    scenario.changes(&["srv/small"])
}

/// One byte is appended to the large file of the layers.
fn large_copy() -> Scenario {
    let name = "append 1 byte to a large file";
    let rows = vec![Row::new(LOWER, name, Unit::PerGib).target(0.6, 0.6)];
    let scenario = Scenario::new("large copy-up", &[Part::Large], rows, move |bench| {
        bench.warm_layers("srv/large")?;
        bench.fresh()?;
        bench.time_bytes(name, bench.common.scale.large, |root| {
            append(root.fd.as_fd(), c"srv/large", b"x")
        })
    });
    scenario.changes(&["srv/large"])
}
