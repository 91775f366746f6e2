//! File data: small files, one large file, writes.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use rustix::io::pwrite;

use crate::compare::bench::{Bench, Root};
use crate::compare::client::{
    BLOCK, Budget, open, open_to_write, read_all, read_at, repeat, write_all,
};
use crate::compare::error::{Context, Error, Result};
use crate::compare::fixture::{Part, file_of_tree};
use crate::compare::samples::{Row, Unit};
use crate::compare::scenario::Scenario;

const GROUP: &str = "Data";
const PAGE: usize = 4096;
const LARGE: &CStr = c"srv/large";

fn row(name: &str, unit: Unit) -> Row {
    Row::new(GROUP, name, unit)
}

pub(super) fn all() -> Vec<Scenario> {
    vec![small_files(), large_reads(), writes()]
}

/// Every file of a tree is read once, from the disk, then again.
fn small_files() -> Scenario {
    let rows = vec![
        row("read of small files, cold", Unit::Micros),
        row("read of small files, warm", Unit::Micros).target(1.1, 1.6),
    ];
    Scenario::new("small files", &[Part::Small], rows, |bench| {
        let paths = small_paths(bench.common.scale.small_files);
        bench.cold()?;
        bench.time("read of small files, cold", |root| read_them(root, &paths))?;
        bench.time("read of small files, warm", |root| read_them(root, &paths))
    })
}

/// The paths of the small files in their order.
pub(super) fn small_paths(count: usize) -> Vec<CString> {
    let path = |i| format!("srv/small/{}", file_of_tree(i));
    (0..count)
        .filter_map(|i| CString::new(path(i)).ok())
        .collect()
}

/// Reads files one after the other.
pub(super) fn read_them(root: &Root, paths: &[CString]) -> Result<usize> {
    let mut buffer = vec![0; BLOCK];
    for path in paths {
        // Ours are 200 bytes and more.
        if read_all(root.fd.as_fd(), path, &mut buffer)? < 200 {
            return Err(Error::Wrong(format!("{} is short", path.to_string_lossy())));
        }
    }
    Ok(paths.len())
}

/// One large file is read in order and here and there.
fn large_reads() -> Scenario {
    let rows = vec![
        row("sequential read, cold", Unit::PerGib).target(1.05, 1.05),
        row("sequential read, warm", Unit::PerGib).target(1.05, 1.05),
        row("random read 4 KiB, cold", Unit::Micros).target(1.05, 1.05),
        row("random read 4 KiB, warm", Unit::Micros).target(1.05, 1.05),
    ];
    Scenario::new("large reads", &[Part::Large], rows, |bench| {
        let (length, budget) = (bench.common.scale.large, bench.common.scale.budget);
        let mut buffer = vec![0; BLOCK];
        bench.cold()?;
        for name in ["sequential read, cold", "sequential read, warm"] {
            bench.time_bytes(name, length, |root| {
                match read_all(root.fd.as_fd(), LARGE, &mut buffer)? {
                    got if got == length => Ok(()),
                    got => Err(Error::Wrong(format!("{got} bytes read of {length}"))),
                }
            })?;
        }
        let mut here_and_there = |bench: &mut Bench<'_>, name, most| {
            let mut random = fastrand::Rng::with_seed(7);
            bench.time(name, |root| {
                let file = open(root.fd.as_fd(), LARGE)?;
                let budget = Budget { most, ..budget };
                repeat(budget, |_| {
                    let offset = random.u64(..length / PAGE as u64) * PAGE as u64;
                    read_at(&file, &mut buffer[..PAGE], offset)
                })
            })
        };
        here_and_there(bench, "random read 4 KiB, warm", budget.most)?;
        bench.cold()?;
        here_and_there(bench, "random read 4 KiB, cold", 2000)
    })
}

/// New files are written, in large pieces and in small ones; nothing is synced.
fn writes() -> Scenario {
    let rows = vec![
        row("sequential write", Unit::PerGib).target(1.05, 1.05),
        row("4 KiB writes", Unit::Micros).target(1.05, 1.05),
        row("4 KiB writes over old data", Unit::Micros).target(1.05, 1.05),
    ];
    let scenario = Scenario::new("writes", &[Part::Work], rows, |bench| {
        let length = bench.common.scale.large / 2;
        let data = vec![b'w'; BLOCK];
        let create = OFlags::CREATE | OFlags::EXCL;
        bench.fresh()?;
        bench.time_bytes("sequential write", length, |root| {
            let file = open_to_write(root.fd.as_fd(), c"srv/work/large", create)?;
            (0..length / BLOCK as u64).try_for_each(|_| write_all(&file, &data))
        })?;
        bench.settle()?;
        let count = bench.common.scale.large as usize >> 16;
        bench.time("4 KiB writes", |root| {
            let file = open_to_write(root.fd.as_fd(), c"srv/work/small", create)?;
            (0..count).try_for_each(|_| write_all(&file, &data[..PAGE]))?;
            Ok(count)
        })?;
        let mut random = fastrand::Rng::with_seed(8);
        bench.time("4 KiB writes over old data", |root| {
            let file = open_to_write(root.fd.as_fd(), c"srv/work/small", OFlags::empty())?;
            for _ in 0..count {
                let offset = (random.usize(..count) * PAGE) as u64;
                pwrite(&file, &data[..PAGE], offset).on("pwrite")?;
            }
            Ok(count)
        })
    });
    scenario.changes(&["srv/work"])
}
