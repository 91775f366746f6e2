//! 1 to 8 threads at once: what one operation takes of the clock on the wall.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::thread;

use super::data::{read_them, small_paths};
use super::names::missing_names;
use crate::compare::bench::Root;
use crate::compare::client::{create, miss, numbered, repeat, walk};
use crate::compare::error::{Error, Result};
use crate::compare::fixture::Part;
use crate::compare::samples::{Row, Unit};
use crate::compare::scenario::Scenario;

const GROUP: &str = "Threads";

pub(super) fn all() -> Vec<Scenario> {
    [1, 2, 4, 8].into_iter().map(at_once).collect()
}

fn at_once(threads: u32) -> Scenario {
    let row = |name| Row::at(GROUP, (name, threads), Unit::Micros);
    let rows = vec![
        row("missing name"),
        row("read of small files"),
        row("create a 4 KiB file"),
    ];
    let [missing, reading, creating] = [0, 1, 2].map(|i: usize| rows[i].name.clone());
    let parts = [Part::Debian, Part::Small, Part::Work];
    let name = format!("threads {threads}");
    let scenario = Scenario::new(name, &parts, rows, move |bench| {
        let budget = bench.common.scale.budget;
        let absent = missing_names(&bench.fixture.known.directories, budget.most);
        let small = small_paths(bench.common.scale.small_files.min(4000));
        let new = numbered("srv/work", "new", bench.common.scale.names);
        bench.warm_layers("srv/small")?;
        bench.fresh()?;
        walk(bench.root()?.fd.as_fd(), c"usr")?;
        read_them(&bench.root()?, &small)?;
        bench.time(&missing, |root| {
            spread(root, threads, &absent, |root, share| {
                repeat(budget, |i| {
                    let name = share
                        .get(i)
                        .ok_or_else(|| Error::Wrong("no names left".to_owned()));
                    miss(root.fd.as_fd(), name?)
                })
            })
        })?;
        bench.time(&reading, |root| spread(root, threads, &small, read_them))?;
        bench.time(&creating, |root| {
            spread(root, threads, &new, |root, share| {
                for path in share {
                    create(root.fd.as_fd(), path, &[b'x'; 4096])?;
                }
                Ok(share.len())
            })
        })
    });
    scenario.changes(&["srv/work"])
}

/// Gives each thread its share of the paths; sums up how many operations were done.
fn spread(
    root: &Root,
    threads: u32,
    paths: &[CString],
    work: impl Fn(&Root, &[CString]) -> Result<usize> + Sync,
) -> Result<usize> {
    let share = paths.len().div_ceil(threads as usize);
    thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = paths
            .chunks(share)
            .map(|share| scope.spawn(move || work(root, share)))
            .collect();
        let ended = started.into_iter().map(|thread| {
            let panicked = |_| Err(Error::Wrong("a client thread panicked".to_owned()));
            thread.join().unwrap_or_else(panicked)
        });
        ended.sum()
    })
}
