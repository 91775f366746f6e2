//! `run`: exit codes and signals.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tests::container::Runner;
use tests::process::{Running, wait_until};

#[test]
fn the_commands_exit_code_is_ours() {
    let runner = Runner::new();
    for code in [0, 1, 7, 42, 125, 126, 127, 255] {
        assert_eq!(runner.sh(&[], &format!("exit {code}")).code, code);
    }
}

#[test]
fn death_by_a_signal_is_128_and_the_signal() {
    let runner = Runner::new();
    // Not pid 1 itself: the kernel keeps unhandled signals of its own namespace from it.
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let output = runner.sh(&[], &format!("sh -c 'kill -{name} $$'; exit $?"));
        assert_eq!(output.code, 128 + number, "{name}: {output}");
        let output = runner.run(&["--init", "host", "sh", "-c", &format!("kill -{name} $$")]);
        assert_eq!(output.code, 128 + number, "--init, {name}: {output}");
    }
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_not_executable_126() {
    let runner = Runner::new();
    for command in ["no-such-command", "/no/such/command", "./nothing"] {
        let output = runner.run(&["host", command]);
        let line = output.one_line_error(127);
        assert!(line.contains(command.trim_start_matches("./")), "{line}");
    }
    for command in ["/etc/passwd", "/etc", "/"] {
        let line = runner.run(&["host", command]).one_line_error(126);
        assert!(line.contains(command), "{line}");
    }
}

#[test]
fn a_script_without_interpreter_is_told() {
    let runner = Runner::new();
    let root = runner.scratch.dir("tools");
    std::fs::write(root.join("broken"), "#!/no/such/interpreter\n").unwrap();
    std::fs::write(root.join("empty"), "\x01\x02\x03").unwrap();
    for name in ["broken", "empty"] {
        tests::process::call("chmod", &["755", root.join(name).to_str().unwrap()]).ok();
        let volume = format!("{}:/tools", root.display());
        let output = runner.run(&["-v", &volume, "host", &format!("/tools/{name}")]);
        assert!([126, 127].contains(&output.code), "{output}");
        output.one_line_error(output.code);
    }
}

#[test]
fn signals_to_the_client_reach_the_command() {
    for (signal, number) in [
        (Signal::TERM, 15),
        (Signal::INT, 2),
        (Signal::HUP, 1),
        (Signal::USR1, 10),
    ] {
        let runner = Runner::new();
        let marks = runner.scratch.dir("marks");
        let script = format!(
            "trap 'echo got; exit 33' {number}; touch /marks/ready; while :; do sleep 0.05; done"
        );
        let volume = format!("{}:/marks", marks.display());
        let mut command = runner.command("run");
        command.args(["--rm", "-v", &volume, "host", "sh", "-c", &script]);
        let mut running = Running::start(command.stdout(Stdio::piped()));
        let ready = wait_until(Duration::from_secs(120), || marks.join("ready").exists());
        assert!(ready, "the command never started");
        running.signal(signal);
        assert_eq!(running.wait(Duration::from_secs(20)), 33, "{signal:?}");
        let mut said = String::new();
        std::io::Read::read_to_string(running.0.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(said, "got\n");
    }
}

#[test]
fn init_reaps_orphans_and_passes_signals_on() {
    let runner = Runner::new();
    let script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.05 &'; done; sleep 0.6; \
                  grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    assert_eq!(runner.sh(&["--init"], script).ok().trim(), "0");
    let pids = runner
        .sh(&["--init"], "echo $$; tr '\\0' ' ' < /proc/1/cmdline")
        .ok();
    assert_ne!(
        pids.lines().next(),
        Some("1"),
        "the command is pid 1 despite --init: {pids}"
    );
    assert_eq!(runner.sh(&[], "echo $$").ok().trim(), "1");
}
