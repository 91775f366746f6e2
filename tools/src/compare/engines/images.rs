//! Images from a local registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::place::{REGISTRY, archive};
use super::{Turn, Work};
use crate::compare::error::{Context, Error, Result};
use crate::compare::samples::{Row, Unit};

const GROUP: &str = "Images";
const BOTH: &[&str] = &["runner", "docker"];

fn row(name: &str, unit: Unit) -> Row {
    Row::new(GROUP, name, unit).beside("docker")
}

pub(super) fn all() -> Vec<Work> {
    vec![
        pulling("large", 8000, 43_750, 3.0),
        pulling("many", 100_000, 1000, 5.0),
        changing(),
    ]
}

/// The archive of an image of so many files, made once.
pub(super) fn tree(turn: &Turn<'_>, name: &str, files: usize, length: usize) -> Result<PathBuf> {
    let scratch = turn.common.scratch;
    let tar = scratch.join(format!("{name}.tar"));
    if tar.exists() {
        return Ok(tar);
    }
    let top = scratch.join(format!("{name}.tree"));
    let root = scratch.join("root");
    if root.exists() {
        let copied = Command::new("cp")
            .arg("-aT")
            .arg(&root)
            .arg(&top)
            .status()
            .on("cp")?;
        if !copied.success() {
            return Err(Error::Wrong(format!("cp {} fails", root.display())));
        }
    }
    let mut random = fastrand::Rng::with_seed(9);
    for i in 0..files {
        let path = top.join(format!("srv/d{}/f{i}", i / 100));
        if let Some(parent) = path.parent().filter(|_| i.is_multiple_of(100)) {
            fs::create_dir_all(parent).on(parent.display())?;
        }
        let mut text = String::with_capacity(length + 8);
        while text.len() < length {
            text.push_str(&format!("{:x} ", random.u32(..5000)));
        }
        text.truncate(length);
        fs::write(&path, text).on(path.display())?;
    }
    archive(turn.common, &top, &tar)?;
    crate::compare::scratch::remove(&top)?;
    Ok(tar)
}

/// The image in the registry, pushed once, by ours.
fn image(turn: &Turn<'_>, name: &str, files: usize, length: usize) -> Result<(String, PathBuf)> {
    let tar = tree(turn, name, files, length)?;
    let full = format!("{REGISTRY}/{name}:1");
    let mark = turn.common.scratch.join(format!("{name}.pushed"));
    if !mark.exists() {
        turn.call(&["import", &tar.to_string_lossy(), &full])?;
        turn.call(&["push", &full])?;
        fs::write(&mark, "").on(mark.display())?;
        // Only what a pull brings is measured.
        turn.call(&["rmi", "-f", &full])?;
    }
    Ok((full, tar))
}

/// Pulls with an eye on the client's memory; gives seconds and MiB.
fn pull(turn: &Turn<'_>, name: &str) -> Result<(f64, f64)> {
    let started = Instant::now();
    let mut child = turn
        .engine
        .command(&["pull", "-q", name])?
        .stdout(std::process::Stdio::null())
        .spawn()
        .on("pull")?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut most = 0.0_f64;
    loop {
        most = most.max(peak(&status));
        if let Some(ended) = child.try_wait().on("pull")? {
            return match ended.success() {
                true => Ok((started.elapsed().as_secs_f64(), most)),
                false => Err(Error::Wrong(format!("pull {name}: {ended}"))),
            };
        }
        sleep(Duration::from_millis(2));
    }
}

/// The peak of a process's memory up to now.
fn peak(status: &Path) -> f64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Bytes on the disk that an engine takes.
fn taken(turn: &Turn<'_>) -> Result<f64> {
    let place = turn.common.scratch.join(turn.engine.key);
    let output = Command::new("du")
        .args(["-sxB1", "--"])
        .arg(&place)
        .output()
        .on("du")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let bytes = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    bytes.ok_or_else(|| Error::Wrong("du prints no size".to_owned()))
}

fn pulling(what: &'static str, files: usize, length: usize, times: f64) -> Work {
    let kind = format!("{files} files of {length} bytes");
    let [first, memory, disk] = [
        "pull and first run",
        "peak memory of a pull",
        "disk beside the archive",
    ]
    .map(|name| format!("{name}, {kind}"));
    let rows = vec![
        row(&first, Unit::Millis).faster("docker", times),
        row(&memory, Unit::Mebibytes).most(64.0),
        row(&disk, Unit::Times).most(1.05),
    ];
    let body = move |turn: &mut Turn<'_>| {
        let (name, tar) = image(turn, what, files, length)?;
        // None in the first round.
        let _ = turn.call(&["rmi", "-f", &name]);
        let _ = turn.call(&["image", "prune", "-f"]);
        if turn.call(&["image", "inspect", &name]).is_ok() {
            return Err(Error::Wrong(format!("{name} is there before it is pulled")));
        }
        rustix::fs::sync();
        let before = taken(turn)?;
        let (pulled, peak) = pull(turn, &name)?;
        let (ran, _) = turn.call(&["run", "--rm", "--network", "none", &name, "true"])?;
        turn.note(&first, pulled + ran);
        if turn.engine.key == "runner" {
            turn.note(&memory, peak);
        }
        let archive = fs::metadata(&tar).on(tar.display())?.len() as f64;
        rustix::fs::sync();
        let grown = taken(turn)? - before;
        turn.note(&disk, grown / archive);
        turn.call(&["rmi", "-f", &name]).map(drop)
    };
    Work {
        name: what,
        rows,
        by: BOTH,
        body: Box::new(body),
    }
}

/// Commit, a rebuild from the cache, removing many.
fn changing() -> Work {
    let rows = vec![
        row("commit of 10 changed files of 100000", Unit::Millis).most(0.050),
        row("rebuild from the cache", Unit::Millis).most(0.100),
        row("rmi and prune of 50 images", Unit::Millis).most(1.0),
    ];
    let body = |turn: &mut Turn<'_>| {
        let (name, _) = image(turn, "many", 100_000, 1000)?;
        turn.call(&["pull", "-q", &name])?;
        let change = "for i in 0 1 2 3 4 5 6 7 8 9; do echo x > /srv/d0/f$i; done";
        turn.call(&[
            "run",
            "--name",
            "changed",
            "--network",
            "none",
            &name,
            "/bin/sh",
            "-c",
            change,
        ])?;
        for _ in 0..5 {
            turn.time(
                "commit of 10 changed files of 100000",
                &["commit", "changed", "committed"],
            )?;
        }
        let context = turn.common.scratch.join("context");
        fs::create_dir_all(&context).on(context.display())?;
        let text =
            "FROM small\nCOPY Dockerfile /there\nRUN [\"/bin/touch\", \"/made\"]\nCMD [\"true\"]\n";
        fs::write(context.join("Dockerfile"), text).on("Dockerfile")?;
        let context = context.to_string_lossy();
        let build = ["build", "-q", "--network", "none", "-t", "built", &context];
        turn.call(&build)?;
        for _ in 0..5 {
            turn.time("rebuild from the cache", &build)?;
        }
        let names: Vec<_> = (0..50).map(|i| format!("of50:{i}")).collect();
        for (i, name) in names.iter().enumerate() {
            turn.call(&[
                "commit",
                "-c",
                &format!("LABEL number={i}"),
                "changed",
                name,
            ])?;
        }
        turn.engine.clear(turn.common);
        let all: Vec<&str> = ["rmi"]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect();
        let (removed, _) = turn.call(&all)?;
        let (pruned, _) = turn.call(&["image", "prune", "-f"])?;
        turn.note("rmi and prune of 50 images", removed + pruned);
        turn.call(&["rmi", "-f", "committed", "built", &name])
            .map(drop)
    };
    Work {
        name: "changes",
        rows,
        by: BOTH,
        body: Box::new(body),
    }
}
