//! `start`: again and again, attached or not.

use std::process::Command;
use std::time::Duration;

use tests::container::{Runner, debian};
use tests::process::{LIMIT, run_with};

#[test]
fn what_was_written_is_there_after_the_next_start() {
    let runner = Runner::new();
    let script = "test -e /count || echo 0 > /count; n=$(cat /count); echo $((n+1)) | tee /count";
    let image = format!("dir:{}", debian().display());
    runner.ok("create", &["--name", "cc", &image, "sh", "-c", script]);
    for wanted in ["1\n", "2\n", "3\n"] {
        assert_eq!(runner.call("start", &["-a", "cc"]).ok(), wanted);
    }
    assert_eq!(runner.call("logs", &["cc"]).ok(), "1\n2\n3\n");
}

#[test]
fn names_are_printed_and_running_ones_are_left_alone() {
    let runner = Runner::new();
    let id = runner.detached(&["--name", "up"], "sleep 1000");
    let pid = runner.inspect("up", "{{.State.Pid}}");
    assert_eq!(
        runner.ok("start", &["up", &id[..12]]),
        format!("up\n{}", &id[..12])
    );
    assert_eq!(runner.inspect("up", "{{.State.Pid}}"), pid);
}

#[test]
fn input_is_handed_on_with_i() {
    let runner = Runner::new();
    runner.ok(
        "create",
        &["-i", "--name", "cat", "host", "tr", "a-z", "A-Z"],
    );
    for _ in 0..2 {
        let mut command = runner.command("start");
        command.args(["-ai", "cat"]);
        assert_eq!(run_with(&mut command, b"hello\n", LIMIT).ok(), "HELLO\n");
    }
}

#[test]
fn errors_are_told_for_each() {
    let runner = Runner::new();
    runner.ok("create", &["--name", "good", "host", "true"]);
    let output = runner.call("start", &["nobody", "good"]);
    assert_eq!((output.code, output.out().as_str()), (125, "good\n"));
    assert_eq!(output.err(), "runner: no such container: nobody\n");
    let line = runner
        .call("start", &["-a", "good", "good"])
        .one_line_error(125);
    assert!(line.contains("one container at a time"), "{line}");
    runner.wait_for("good", "{{.State.Status}}", "exited");
}

#[test]
fn a_start_that_fails_leaves_the_container_and_can_be_tried_again() {
    let runner = Runner::new();
    let shared = runner.scratch.dir("shared");
    let volume = format!("{}:/data", shared.display());
    runner.ok("create", &["--name", "vv", "-v", &volume, "host", "true"]);
    std::fs::remove_dir(&shared).unwrap();
    let line = runner.call("start", &["vv"]).one_line_error(125);
    assert!(line.contains("shared"), "{line}");
    assert_eq!(runner.inspect("vv", "{{.State.Status}}"), "created");
    std::fs::create_dir(&shared).unwrap();
    assert_eq!(runner.call("start", &["-a", "vv"]).code, 0);
}

#[test]
fn two_starts_at_once_are_one() {
    let runner = Runner::new();
    for round in 0..5 {
        let name = format!("twice-{round}");
        runner.ok(
            "create",
            &["--name", &name, "host", "sh", "-c", "echo one; sleep 1000"],
        );
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| runner.call("start", &[&name]).ok());
            }
        });
        assert_eq!(runner.inspect(&name, "{{.State.Status}}"), "running");
        runner.wait_for_log(&name, "one\n");
        assert_eq!(runner.call("logs", &[&name]).ok(), "one\n");
        runner.ok("rm", &["-f", &name]);
    }
}

#[test]
fn start_and_remove_at_once_end_in_one_or_the_other() {
    let runner = Runner::new();
    for round in 0..8 {
        let name = format!("race-{round}");
        runner.ok("create", &["--name", &name, "host", "sleep", "1000"]);
        let (started, removed) = std::thread::scope(|scope| {
            let start = scope.spawn(|| runner.call("start", &[&name]));
            let remove = scope.spawn(|| runner.call("rm", &[&name]));
            (start.join().unwrap(), remove.join().unwrap())
        });
        let there = !runner.containers().is_empty();
        assert_eq!(started.code == 0, there, "{started}");
        assert_eq!(removed.code == 0, !there, "{removed}");
        runner.clear();
        runner.nothing_left();
    }
}

#[test]
fn the_classic_way_to_keep_an_id() {
    let runner = Runner::new();
    let script = format!(
        "r() {{ v=$1; shift; {} $v --root {} \"$@\"; }}
         ID=$(r create host sh -c 'echo $0 $1' a b) && r start -a $ID && r ps -l -q",
        tests::programs::runner().display(),
        runner.state().display()
    );
    let output = run_with(
        Command::new("sh").args(["-c", &script]),
        b"",
        Duration::from_secs(60),
    );
    let out = output.ok();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("a b"));
    assert_eq!(lines.next().map(str::len), Some(12));
}
