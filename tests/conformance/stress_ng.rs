//! stress-ng's file system class with `--verify`: every load checks its own results.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use tests::layers::Layer;
use tests::process::{call, run_with};
use tests::programs;
use tests::stage::Stage;

/// Loads that do not work in the directory they are given.
const ELSEWHERE: &[&str] = &["bind-mount", "binderfs", "eventfd", "ioprio", "procfs"];

/// The loads of the class, in three parts that can run side by side.
fn loads(part: usize) -> Vec<String> {
    let said = call("stress-ng", &["--class", "filesystem?"]);
    let text = format!("{}{}", said.out(), said.err());
    let (_, names) = text
        .split_once("stressors:")
        .unwrap_or_else(|| panic!("{said}"));
    let all: BTreeSet<&str> = names.split_whitespace().collect();
    assert!(all.len() > 40, "a class of {} loads: {said}", all.len());
    let here = all.into_iter().filter(|name| !ELSEWHERE.contains(name));
    let part = here.enumerate().filter(|(index, _)| index % 3 == part);
    part.map(|(_, name)| name.to_owned()).collect()
}

/// Runs a part, one load after the other, two processes each, in a directory of a lower.
fn passes(part: usize) {
    let stage = Stage::new(&[Layer::new().dir("lower").file("lower/file", "1")]);
    let seconds = if programs::long() { "20" } else { "1" };
    let mut command = Command::new("stress-ng");
    command.args(["--verify", "--timeout", seconds, "--temp-path"]);
    command.arg(stage.m("lower"));
    command.args(["--sequential", "2", "--class", "filesystem", "--exclude"]);
    let wanted = loads(part);
    let others = (0..3).filter(|other| *other != part).flat_map(loads);
    let excluded: Vec<String> = others
        .chain(ELSEWHERE.iter().map(|name| (*name).to_owned()))
        .collect();
    command.arg(excluded.join(","));
    command.current_dir(stage.m("lower"));
    let output = run_with(&mut command, b"", Duration::from_secs(580));
    let said = format!("{}{}", output.out(), output.err());
    let faults: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(": fail:") || line.contains(": error:"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(output.code, 0, "{output}");
    let ran = wanted
        .iter()
        .filter(|name| said.contains(name.as_str()))
        .count();
    assert_eq!(ran, wanted.len(), "of {wanted:?}: {output}");
}

#[test]
fn stress_ng_first_third() {
    passes(0);
}

#[test]
fn stress_ng_second_third() {
    passes(1);
}

#[test]
fn stress_ng_last_third() {
    passes(2);
}
