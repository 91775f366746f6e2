//! `logs`: everything that was said, in order, to the right stream.

use std::process::Stdio;
use std::time::Duration;

use tests::container::Runner;
use tests::process::{Running, run, wait_until};

#[test]
fn both_streams_are_kept_apart_and_exact() {
    let runner = Runner::new();
    let id = runner.detached(&[], "echo out; echo err >&2; printf '\\000\\377no end'");
    runner.ok("wait", &[&id]);
    let output = runner.call("logs", &[&id]);
    assert_eq!(output.stdout, b"out\n\x00\xffno end");
    assert_eq!(output.err(), "err\n");
}

#[test]
fn a_run_in_the_foreground_is_kept_too() {
    let runner = Runner::new();
    let out = run(runner
        .command("run")
        .args(["--name", "fg", "host", "seq", "3"]))
    .ok();
    assert_eq!(out, "1\n2\n3\n");
    assert_eq!(runner.call("logs", &["fg"]).ok(), "1\n2\n3\n");
}

#[test]
fn tail_since_until_and_timestamps() {
    let runner = Runner::new();
    runner.detached(&["--name", "ll"], "seq 1 20; sleep 1; seq 21 30");
    runner.ok("wait", &["ll"]);
    let lines = |args: &[&str]| {
        let out = runner.call("logs", &[args, &["ll"]].concat()).ok();
        let numbers: Vec<_> = out
            .lines()
            .map(|l| l.rsplit(' ').next().unwrap().to_owned())
            .collect();
        match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) => format!("{first}-{last}:{}", numbers.len()),
            _ => "none".to_owned(),
        }
    };
    assert_eq!(lines(&[]), "1-30:30");
    assert_eq!(lines(&["--tail", "5"]), "26-30:5");
    assert_eq!(lines(&["-n", "0"]), "none");
    assert_eq!(lines(&["--tail", "all"]), "1-30:30");
    assert_eq!(lines(&["--tail", "-1"]), "1-30:30");
    let stamped = runner.call("logs", &["-t", "ll"]).ok();
    let times: Vec<&str> = stamped
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert!(
        times.iter().all(|t| t.len() == 30 && t.ends_with('Z')),
        "{stamped}"
    );
    assert!(times.is_sorted());
    assert_eq!(lines(&["--since", times[20]]), "21-30:10");
    assert_eq!(lines(&["--until", times[19]]), "1-20:20");
    assert_eq!(lines(&["--since", "1h", "--until", "10m"]), "none");
    assert_eq!(lines(&["--since", "1h"]), "1-30:30");
    for bad in [&["--since", "yesterday"][..], &["--until", "x"]] {
        runner
            .call("logs", &[bad, &["ll"]].concat())
            .one_line_error(125);
    }
}

#[test]
fn following_ends_with_the_container_and_loses_nothing() {
    let runner = Runner::new();
    for round in 0..5 {
        // The last words come right before the end.
        let id = runner.detached(&[], "seq 1 500; sleep 0.2; seq 501 3000; echo last >&2");
        let output = runner.call("logs", &["-f", &id]);
        assert_eq!(output.ok().lines().count(), 3000, "round {round}");
        assert_eq!(output.err(), "last\n");
    }
}

#[test]
fn following_shows_lines_as_they_come() {
    let runner = Runner::new();
    let marks = runner.scratch.dir("marks");
    let volume = format!("{}:/marks", marks.display());
    let script =
        "for i in 1 2 3; do while ! test -e /marks/$i; do sleep 0.01; done; echo got $i; done";
    runner.detached(&["--name", "ff", "-v", &volume], script);
    let file = std::fs::File::create(runner.scratch.join("shown")).unwrap();
    let mut command = runner.command("logs");
    let mut following = Running::start(command.args(["-f", "ff"]).stdout(Stdio::from(file)));
    let mut wanted = String::new();
    for i in 1..=3 {
        std::fs::write(marks.join(i.to_string()), "").unwrap();
        wanted += &format!("got {i}\n");
        let shown = || std::fs::read_to_string(runner.scratch.join("shown")).unwrap();
        let came = wait_until(Duration::from_secs(120), || shown() == wanted);
        assert!(came, "wanted {wanted:?}, shown {:?}", shown());
    }
    assert_eq!(following.wait(Duration::from_secs(10)), 0);
}

#[test]
fn files_are_rotated_and_a_follower_passes_over() {
    let runner = Runner::new();
    let flags = [
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "--name",
        "rot",
    ];
    // Slow enough that a follower keeps up with two files behind.
    runner.detached(
        &flags,
        "for i in $(seq 1 40); do seq $((i*100)) $((i*100+99)); sleep 0.02; done",
    );
    let followed = runner.call("logs", &["-f", "rot"]).ok();
    let numbers: Vec<u32> = followed.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(numbers, (100..4100).collect::<Vec<_>>());
    let directory = runner
        .state()
        .join("containers")
        .join(runner.inspect("rot", "{{.Id}}"));
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("container.log")
        {
            files += 1;
            assert!(entry.metadata().unwrap().len() <= 20 << 10);
        }
    }
    assert_eq!(files, 3);
    let kept = runner.call("logs", &["rot"]).ok();
    assert!(kept.ends_with("4099\n") && kept.lines().count() < 4000);
    assert_eq!(
        runner
            .call("logs", &["--tail", "300", "rot"])
            .ok()
            .lines()
            .count(),
        300
    );
}

#[test]
fn the_file_is_dockers_format() {
    let runner = Runner::new();
    let id = runner.detached(&[], "echo 'a \"b\"'; printf part >&2");
    runner.ok("wait", &[&id]);
    let file = std::fs::read_to_string(runner.inspect(&id, "{{.LogPath}}")).unwrap();
    let mut lines: Vec<serde_json::Value> = file
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    lines.sort_by_key(|l| l["stream"].to_string());
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["log"], "part");
    assert_eq!(lines[0]["stream"], "stderr");
    assert_eq!(lines[1]["log"], "a \"b\"\n");
    assert!(lines[1]["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn no_log_if_none_is_wanted() {
    let runner = Runner::new();
    let id = runner.detached(&["--log-driver", "none"], "echo x");
    runner.ok("wait", &[&id]);
    let line = runner.call("logs", &[&id]).one_line_error(125);
    assert!(line.contains("--log-driver none"), "{line}");
    assert_eq!(
        runner.inspect(&id, "{{.LogPath}}{{.HostConfig.LogConfig.Type}}"),
        "none"
    );
}

#[test]
fn logs_of_nobody() {
    let runner = Runner::new();
    let line = runner.call("logs", &["nobody"]).one_line_error(125);
    assert_eq!(line, "runner: no such container: nobody");
    runner.ok("create", &["--name", "silent", "host", "true"]);
    assert_eq!(runner.call("logs", &["-f", "silent"]).ok(), "");
}
