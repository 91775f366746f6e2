//! Real programs. Those of the Debian root run inside the mount as their root directory.
//!
//! Unless it says "cold", the page cache of the layers is warm and the mount is new: the usual
//! start of a container.

use std::fs::File;

use crate::compare::error::{Context, Error, Result};
use crate::compare::fixture::Part;
use crate::compare::samples::{Row, Unit};
use crate::compare::scenario::Scenario;

/// The group whose geometric mean is told.
pub(crate) const GROUP: &str = "Programs";

fn row(name: &str, unit: Unit) -> Row {
    Row::new(GROUP, name, unit)
}

pub(super) fn all() -> Vec<Scenario> {
    vec![
        python(),
        compile(),
        find(),
        archive(),
        git(),
        chown(),
        remove(),
        apt(),
        sqlite(),
        fio(),
    ]
}

/// Modules of the standard library that pull in most of the others.
const IMPORTS: &str = "import argparse, asyncio, bz2, calendar, concurrent.futures, csv, ctypes, \
    datetime, decimal, difflib, doctest, email.mime.multipart, fractions, ftplib, gettext, gzip, \
    hashlib, html.parser, http.client, http.server, imaplib, inspect, json, logging.handlers, \
    lzma, mailbox, multiprocessing.pool, netrc, optparse, pdb, pickle, platform, pprint, random, \
    secrets, shelve, shlex, smtplib, socketserver, sqlite3, ssl, statistics, subprocess, tarfile, \
    tempfile, unittest.mock, urllib.request, uuid, xml.dom.minidom, xml.etree.ElementTree, \
    xmlrpc.client, zipfile";

fn python() -> Scenario {
    let rows = vec![
        row("python imports, first", Unit::Millis).target(1.1, 1.1),
        row("python imports, again", Unit::Millis).target(1.1, 1.1),
    ];
    Scenario::new("python", &[Part::Debian], rows, |bench| {
        bench.warm_layers("usr/lib")?;
        bench.warm_layers("usr/bin")?;
        bench.fresh()?;
        for name in ["python imports, first", "python imports, again"] {
            let command = bench.inside(&["python3", "-c", IMPORTS])?;
            bench.time_program(name, command)?;
        }
        Ok(())
    })
}

fn compile() -> Scenario {
    let name = "C compile, make -j2";
    let rows = vec![row(name, Unit::Seconds).target(1.1, 1.1)];
    let parts = [Part::Debian, Part::Project];
    let scenario = Scenario::new("compile", &parts, rows, move |bench| {
        bench.warm_layers("usr")?;
        bench.fresh()?;
        let command = bench.inside(&["make", "-s", "-j2", "-C", "/srv/project"])?;
        bench.time_program(name, command)
    });
    scenario.changes(&["srv/project"])
}

fn find() -> Scenario {
    let rows = vec![
        row("find, cold", Unit::Millis).target(0.8, 0.8),
        row("find, warm", Unit::Millis),
    ];
    Scenario::new("find", &[Part::Debian], rows, |bench| {
        bench.cold()?;
        bench.run(bench.outside(&["find", "--version"])?)?;
        for name in ["find, cold", "find, warm"] {
            let command =
                bench.outside(&["find", "usr", "-newer", "etc/passwd", "-size", "+9M"])?;
            bench.time_program(name, command)?;
        }
        Ok(())
    })
}

/// Trees of many files and of some data.
const TREES: [&str; 3] = ["usr/include", "usr/lib/python3.11", "usr/share/perl"];

fn archive() -> Scenario {
    let rows = vec![
        row("tar of a tree, cold", Unit::Millis).target(0.8, 0.8),
        row("untar", Unit::Millis).target(1.3, 1.3),
    ];
    let scenario = Scenario::new("tar", &[Part::Debian, Part::Work], rows, |bench| {
        let file = bench.common.scratch.join("trees.tar");
        let name = file.to_string_lossy();
        if !file.exists() {
            bench.fresh()?;
            bench.run(bench.outside(&[&["tar", "-cf", &name], &TREES[..]].concat())?)?;
        }
        bench.cold()?;
        bench.run(bench.outside(&["tar", "--version"])?)?;
        // tar reads no data if it sees that it writes to /dev/null.
        let pack = format!("tar -cf - {} | cat > /dev/null", TREES.join(" "));
        let command = bench.outside(&["sh", "-c", &pack])?;
        bench.time_program("tar of a tree, cold", command)?;
        bench.warm_layers("usr")?;
        bench.fresh()?;
        let mut command = bench.inside(&["tar", "-xf", "-", "-C", "/srv/work"])?;
        command.stdin(File::open(&file).on(file.display())?);
        bench.time_program("untar", command)
    });
    scenario.changes(&["srv/work"])
}

fn git() -> Scenario {
    let rows = vec![
        row("git add", Unit::Millis).target(1.3, 1.3),
        row("git commit", Unit::Millis).target(1.3, 1.3),
        row("git status", Unit::Millis).target(1.3, 1.3),
    ];
    let parts = [Part::Debian, Part::Repo];
    let scenario = Scenario::new("git", &parts, rows, |bench| {
        bench.warm_layers("srv/repo")?;
        bench.warm_layers("usr/bin/git")?;
        bench.fresh()?;
        let base = [
            "git",
            "-C",
            "/srv/repo",
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.org",
        ];
        let mut call = |row: Option<&str>, arguments: &[&str]| {
            let command = bench.inside(&[&base, arguments].concat())?;
            match row {
                Some(row) => bench.time_program(row, command),
                None => bench.run(command).map(drop),
            }
        };
        call(None, &["init", "-q"])?;
        call(Some("git add"), &["add", "-A"])?;
        call(Some("git commit"), &["commit", "-q", "-m", "all"])?;
        call(Some("git status"), &["status", "--short"])
    });
    scenario.changes(&["srv/repo"])
}

fn chown() -> Scenario {
    let name = "chown -R of a lower tree";
    let rows = vec![row(name, Unit::Millis).target(0.15, 0.15)];
    let scenario = Scenario::new("chown", &[Part::Owned], rows, move |bench| {
        bench.warm_layers("srv/owned")?;
        bench.fresh()?;
        let command = bench.outside(&["chown", "-R", "1000:1000", "srv/owned"])?;
        bench.time_program(name, command)
    });
    scenario.changes(&["srv/owned"])
}

fn remove() -> Scenario {
    let name = "rm -rf of a lower tree";
    let rows = vec![row(name, Unit::Millis).target(1.3, 1.3)];
    let scenario = Scenario::new("rm", &[Part::Doomed], rows, move |bench| {
        bench.warm_layers("srv/doomed")?;
        bench.fresh()?;
        let command = bench.outside(&["rm", "-rf", "srv/doomed"])?;
        bench.time_program(name, command)?;
        match bench.root()?.path.join("srv/doomed").exists() {
            false => Ok(()),
            true => Err(Error::Wrong("rm left something".to_owned())),
        }
    });
    scenario.changes(&["srv/doomed"])
}

/// A package that the Debian root has downloaded and not installed.
fn apt() -> Scenario {
    let name = "apt-get install";
    let rows = vec![row(name, Unit::Seconds)];
    let scenario = Scenario::new("apt", &[Part::Debian], rows, move |bench| {
        bench.warm_layers("usr")?;
        bench.warm_layers("var")?;
        bench.fresh()?;
        let install = ["apt-get", "-qq", "-y", "--no-download", "install", "hello"];
        let command = bench.inside(&install)?;
        bench.time_program(name, command)?;
        let hello = bench.inside(&["hello"])?;
        let (_, said) = bench.run(hello)?;
        match said.starts_with(b"Hello") {
            true => Ok(()),
            false => Err(Error::Wrong(
                "the installed program does not run".to_owned(),
            )),
        }
    });
    scenario.changes(&["etc", "var", "usr/bin", "usr/share"])
}

/// One row each, committed and synced one by one; prints what the whole took.
const TRANSACTIONS: &str = "
import sqlite3, sys, time
base = sqlite3.connect('/srv/work/base.db')
base.execute('create table pairs (key integer primary key, value text)')
count = int(sys.argv[1])
started = time.perf_counter()
for i in range(count):
    with base:
        base.execute('insert into pairs values (?, ?)', (i, 'x' * 200))
print(time.perf_counter() - started)
assert base.execute('select count(*) from pairs').fetchone() == (count,)
";

fn sqlite() -> Scenario {
    let name = "SQLite transaction";
    let rows = vec![row(name, Unit::Micros)];
    let parts = [Part::Debian, Part::Work];
    let scenario = Scenario::new("sqlite", &parts, rows, move |bench| {
        let count = bench.common.scale.transactions;
        bench.warm_layers("usr/lib")?;
        bench.fresh()?;
        let command = bench.inside(&["python3", "-c", TRANSACTIONS, &count.to_string()])?;
        let (_, printed) = bench.run(command)?;
        let seconds: Option<f64> = String::from_utf8_lossy(&printed).trim().parse().ok();
        let seconds = seconds.ok_or_else(|| Error::Wrong("python printed no time".to_owned()))?;
        bench.note(name, seconds / count as f64);
        Ok(())
    });
    scenario.changes(&["srv/work"])
}

/// Two processes read and write a file of their own here and there, then sync it.
fn fio() -> Scenario {
    let name = "fio randrw 4 KiB, 2 jobs";
    let rows = vec![row(name, Unit::Micros).target(1.05, 1.05)];
    let scenario = Scenario::new("fio", &[Part::Work], rows, move |bench| {
        let size = format!("--size={}", bench.common.scale.large / 16);
        bench.fresh()?;
        let command = bench.outside(&[
            "fio",
            "--name=compare",
            "--directory=srv/work",
            "--rw=randrw",
            "--bs=4k",
            "--numjobs=2",
            "--group_reporting",
            "--ioengine=psync",
            "--randseed=1",
            "--output-format=json",
            &size,
        ])?;
        let (_, printed) = bench.run(command)?;
        let seconds = fio_seconds(&printed)?;
        bench.note(name, seconds);
        Ok(())
    });
    scenario.changes(&["srv/work"]).needs("fio")
}

/// What one operation took by fio's own clock.
fn fio_seconds(json: &[u8]) -> Result<f64> {
    let read = || {
        let report: serde_json::Value = serde_json::from_slice(json).ok()?;
        let job = report.get("jobs")?.get(0)?;
        let rate = |way: &str| job.get(way)?.get("iops")?.as_f64();
        Some(1.0 / (rate("read")? + rate("write")?))
    };
    read().ok_or_else(|| Error::Wrong("fio printed no rates".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::fio_seconds;

    #[test]
    fn rates_of_reads_and_writes_add_up() {
        let json = br#"{"jobs": [{"read": {"iops": 300.0}, "write": {"iops": 200.0}}]}"#;
        assert_eq!(fio_seconds(json).unwrap(), 0.002);
        assert!(fio_seconds(b"{}").is_err());
    }
}
