//! Starting containers.

use std::process::Stdio;
use std::time::Instant;

use super::{Turn, Work};
use crate::compare::error::{Context, Error, Result};
use crate::compare::samples::{Row, Unit};

const GROUP: &str = "Start-up";
const BOTH: &[&str] = &["runner", "docker"];
const ALL: &[&str] = &["runner", "docker", "runc", "bwrap"];

fn row(name: &str, unit: Unit) -> Row {
    Row::new(GROUP, name, unit).beside("docker")
}

pub(super) fn all() -> Vec<Work> {
    vec![alone(), bridged(), many(), at_once(), ports()]
}

/// How often a short thing is done in each round.
const REPEAT: usize = 10;

/// Containers that are there at a time.
const MANY: usize = 200;

fn alone() -> Work {
    let name = "run --rm, no network";
    let rows = vec![row(name, Unit::Millis).most(0.015)];
    let body = move |turn: &mut Turn<'_>| {
        turn.call(&["run", "--rm", "--network", "none", "small", "true"])?;
        for _ in 0..REPEAT {
            turn.time(name, &["run", "--rm", "--network", "none", "small", "true"])?;
        }
        Ok(())
    };
    Work {
        name: "none",
        rows,
        by: ALL,
        body: Box::new(body),
    }
}

fn bridged() -> Work {
    let rows = vec![
        row("run --rm, bridge", Unit::Millis)
            .most(0.030)
            .faster("docker", 12.0),
        row("exec", Unit::Millis).most(0.010),
    ];
    let body = |turn: &mut Turn<'_>| {
        turn.call(&["run", "--rm", "small", "true"])?;
        for _ in 0..REPEAT {
            turn.time("run --rm, bridge", &["run", "--rm", "small", "true"])?;
        }
        turn.call(&["run", "-d", "--name", "stays", "small", "sleep", "1000"])?;
        for _ in 0..REPEAT {
            turn.time("exec", &["exec", "stays", "true"])?;
        }
        Ok(())
    };
    Work {
        name: "bridge",
        rows,
        by: BOTH,
        body: Box::new(body),
    }
}

/// Containers that are started one after another and stay.
fn many() -> Work {
    let rows = vec![
        row("run -d, of 200 one after another", Unit::Millis),
        row("the last 20 of them beside the first 20", Unit::Times).most(1.2),
        row("ps with 200 containers", Unit::Millis).most(0.020),
        row("private memory of an idle container", Unit::Mebibytes).most(15.0),
    ];
    let body = |turn: &mut Turn<'_>| {
        let before = turn.engine.private();
        let mut took = Vec::new();
        for _ in 0..MANY {
            let words = ["run", "-d", "--network", "none", "small", "sleep", "1000"];
            took.push(turn.call(&words)?.0);
        }
        turn.note(
            "run -d, of 200 one after another",
            took.iter().sum::<f64>() / MANY as f64,
        );
        let first: f64 = took.iter().take(20).sum();
        let last: f64 = took.iter().rev().take(20).sum();
        turn.note("the last 20 of them beside the first 20", last / first);
        for _ in 0..REPEAT {
            turn.time("ps with 200 containers", &["ps"])?;
        }
        let each = (turn.engine.private() - before) / MANY as f64;
        turn.note("private memory of an idle container", each);
        Ok(())
    };
    Work {
        name: "many",
        rows,
        by: BOTH,
        body: Box::new(body),
    }
}

fn at_once() -> Work {
    let name = "50 containers at once";
    let rows = vec![row(name, Unit::Millis)];
    let body = move |turn: &mut Turn<'_>| {
        let started = Instant::now();
        let mut children = Vec::new();
        for _ in 0..50 {
            let mut command = turn.engine.command(&["run", "--rm", "small", "true"])?;
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            children.push(command.spawn().on("run"));
        }
        let mut failed = 0;
        for child in children {
            failed += usize::from(!child?.wait().on("wait")?.success());
        }
        turn.note(name, started.elapsed().as_secs_f64());
        match failed {
            0 => Ok(()),
            some => Err(Error::Wrong(format!("{some} of 50 at once failed"))),
        }
    };
    Work {
        name: "at once",
        rows,
        by: BOTH,
        body: Box::new(body),
    }
}

fn ports() -> Work {
    let name = "run -d with 500 ports";
    let rows = vec![row(name, Unit::Millis).most(0.2)];
    let body = move |turn: &mut Turn<'_>| -> Result<()> {
        let map = "20000-20499:20000-20499";
        turn.time(name, &["run", "-d", "-p", map, "small", "sleep", "1000"])
            .map(drop)
    };
    Work {
        name: "ports",
        rows,
        by: BOTH,
        body: Box::new(body),
    }
}
