//! `run`: standard streams without a terminal.

use std::process::Command;
use std::time::Duration;

use tests::container::Runner;
use tests::process::{LIMIT, run_with};

#[test]
fn standard_output_and_error_are_kept_apart() {
    let runner = Runner::new();
    let output = runner.sh(&[], "echo out; echo err >&2; printf '\\000\\377'");
    assert_eq!(output.stdout, b"out\n\x00\xff");
    assert_eq!(output.err(), "err\n");
}

#[test]
fn standard_input_is_passed_with_i_and_empty_without() {
    let runner = Runner::new();
    let mut command = runner.command("run");
    command.args(["--rm", "-i", "host", "tr", "a-z", "A-Z"]);
    assert_eq!(run_with(&mut command, b"hello\n", LIMIT).ok(), "HELLO\n");
    let mut command = runner.command("run");
    command.args(["--rm", "host", "cat"]);
    assert_eq!(run_with(&mut command, b"hello\n", LIMIT).ok(), "");
}

#[test]
fn megabytes_pass_both_ways_unchanged() {
    let runner = Runner::new();
    let data: Vec<u8> = (0..8_000_000_u32).map(|i| (i * 31 / 7) as u8).collect();
    let mut command = runner.command("run");
    command.args(["--rm", "-i", "host", "cat"]);
    let output = run_with(&mut command, &data, Duration::from_secs(60));
    assert_eq!(output.code, 0, "{}", output.err());
    assert!(
        output.stdout == data,
        "{} of {} bytes came back",
        output.stdout.len(),
        data.len()
    );
}

#[test]
fn nothing_said_before_the_end_is_lost() {
    let runner = Runner::new();
    for _ in 0..10 {
        let output = runner.sh(&[], "seq 20000; echo last >&2");
        assert_eq!(output.ok().lines().count(), 20_000);
        assert_eq!(output.err(), "last\n");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let runner = Runner::new();
    let script = format!(
        "{} run --root {} --rm host yes | head -n 1",
        tests::programs::runner().display(),
        runner.state().display()
    );
    let output = run_with(
        Command::new("sh").args(["-c", &script]),
        b"",
        Duration::from_secs(30),
    );
    assert_eq!(output.out(), "y\n");
}

#[test]
fn without_a_terminal_the_command_has_none() {
    let runner = Runner::new();
    let output = runner.sh(&["-i"], "tty; test -t 0 || test -t 1 || echo none");
    assert_eq!(output.out(), "not a tty\nnone\n");
}
