//! Names and attributes: walks, stats, missing names, opens.

use std::ffi::CString;
use std::os::fd::AsFd;

use crate::compare::client::{miss, open, repeat, stat, walk};
use crate::compare::error::Error;
use crate::compare::fixture::Part;
use crate::compare::samples::{Row, Unit};
use crate::compare::scenario::Scenario;

const GROUP: &str = "Names and attributes";

fn row(name: &str) -> Row {
    Row::new(GROUP, name, Unit::Micros)
}

pub(super) fn all() -> Vec<Scenario> {
    vec![walking(), missing(), opening()]
}

/// A tree is listed and every object asked for its attributes, then again, then in random order.
fn walking() -> Scenario {
    let rows = vec![
        row("walk + stat, cold").target(0.7, 0.7),
        row("walk + stat, warm").target(0.9, 0.9),
        row("stat of known paths").target(1.0, 1.0),
    ];
    Scenario::new("walk", &[Part::Debian], rows, |bench| {
        let known = &bench.fixture.known;
        let budget = bench.common.scale.budget;
        let all = known.all.len();
        bench.cold()?;
        for name in ["walk + stat, cold", "walk + stat, warm"] {
            bench.time(name, |root| match walk(root.fd.as_fd(), c"usr")? {
                seen if seen == all => Ok(seen),
                seen => Err(Error::Wrong(format!("{seen} objects seen of {all}"))),
            })?;
        }
        bench.time("stat of known paths", |root| {
            let at = root.fd.as_fd();
            repeat(budget, |i| stat(at, &known.all[i % all]))
        })
    })
}

/// Names that are not there, in directories that are known, and the same once more.
fn missing() -> Scenario {
    let rows = vec![
        row("lookup of new missing names").target(1.7, 1.7),
        row("the same missing names again"),
    ];
    Scenario::new("missing", &[Part::Debian], rows, |bench| {
        let directories = &bench.fixture.known.directories;
        let budget = bench.common.scale.budget;
        let names = missing_names(directories, budget.most);
        bench.fresh()?;
        // The directories become known, as they are to a program that searches in them.
        walk(bench.root()?.fd.as_fd(), c"usr")?;
        let mut asked = names.len();
        bench.time("lookup of new missing names", |root| {
            asked = repeat(budget, |i| miss(root.fd.as_fd(), &names[i]))?;
            Ok(asked)
        })?;
        bench.time("the same missing names again", |root| {
            repeat(budget, |i| miss(root.fd.as_fd(), &names[i % asked]))
        })
    })
}

/// `count` names that no directory has.
pub(super) fn missing_names(directories: &[CString], count: usize) -> Vec<CString> {
    let name = |i: usize| {
        let directory = directories[i % directories.len()].to_bytes();
        CString::new([directory, format!("/missing{i}").as_bytes()].concat()).unwrap_or_default()
    };
    (0..count).map(name).collect()
}

/// Files are opened for reading and closed: each once, then over and over.
fn opening() -> Scenario {
    let rows = vec![
        row("open + close, first"),
        row("open + close, again").target(1.2, 3.5),
    ];
    Scenario::new("open", &[Part::Debian], rows, |bench| {
        let files = &bench.fixture.known.files[..1000.min(bench.fixture.known.files.len())];
        let budget = bench.common.scale.budget;
        bench.fresh()?;
        walk(bench.root()?.fd.as_fd(), c"usr")?;
        bench.time("open + close, first", |root| {
            for path in files {
                open(root.fd.as_fd(), path)?;
            }
            Ok(files.len())
        })?;
        bench.time("open + close, again", |root| {
            repeat(budget, |i| {
                open(root.fd.as_fd(), &files[i % files.len()]).map(drop)
            })
        })
    })
}
