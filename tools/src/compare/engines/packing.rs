//! Packing a layer, beside inflating it alone and beside unpacking it.

use std::fs::File;
use std::io;
use std::process::Command;
use std::time::Instant;

use super::images::tree;
use super::{Turn, Work};
use crate::compare::error::{Context, Error, Result};
use crate::compare::program;
use crate::compare::samples::{Row, Unit};
use crate::compare::scratch::remove;

const GROUP: &str = "Packing";
const ALL: &[&str] = &["layerfs", "inflate", "tar"];

pub(super) fn all() -> Vec<Work> {
    vec![pack("large", 8000, 43_750), pack("many", 100_000, 1000)]
}

fn pack(what: &'static str, files: usize, length: usize) -> Work {
    let name = format!("gzip layer of {files} files of {length} bytes");
    let row = Row::new(GROUP, &name, Unit::Millis).beside("inflate");
    let row = match what {
        "large" => row.faster("inflate", 0.9),
        _ => row.faster("tar", 3.0),
    };
    let body = move |turn: &mut Turn<'_>| {
        let tar = tree(turn, what, files, length)?;
        let layer = tar.with_extension("tar.gz");
        let log = turn.common.scratch.join("said");
        if !layer.exists() {
            let mut command = Command::new("gzip");
            command.arg("-k").arg(&tar);
            program::run(turn.common.guard, &log, command)?;
        }
        let out = turn.common.scratch.join("out");
        remove(&out)?;
        rustix::fs::sync();
        let started = Instant::now();
        match turn.engine.key {
            "layerfs" => {
                let words = [
                    "pack",
                    &layer.to_string_lossy(),
                    "-o",
                    &out.to_string_lossy(),
                ]
                .map(str::to_owned);
                turn.call(&words.each_ref().map(String::as_str))?;
            }
            "tar" => unpack(turn, &layer, &out)?,
            _ => inflate(&layer)?,
        }
        let took = started.elapsed();
        turn.note(&name, took.as_secs_f64());
        Ok(())
    };
    Work {
        name: what,
        rows: vec![row],
        by: ALL,
        body: Box::new(body),
    }
}

fn inflate(layer: &std::path::Path) -> Result<()> {
    let file = File::open(layer).on(layer.display())?;
    let mut from = flate2::read::GzDecoder::new(io::BufReader::with_capacity(256 << 10, file));
    match io::copy(&mut from, &mut io::sink()).on(layer.display())? {
        0 => Err(Error::Wrong("an empty layer".to_owned())),
        _ => Ok(()),
    }
}

fn unpack(turn: &Turn<'_>, layer: &std::path::Path, out: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(out).on(out.display())?;
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(layer).arg("-C").arg(out);
    program::run(
        turn.common.guard,
        &turn.common.scratch.join("said"),
        command,
    )?;
    let disk = File::open(out).on(out.display())?;
    rustix::fs::syncfs(disk).on("syncfs")
}
