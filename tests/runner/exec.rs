//! `exec`: other commands in a container that runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tests::container::Runner;
use tests::process::{LIMIT, Running, wait_until};
use tests::terminal::Terminal;

/// A container with nothing to do.
fn idle(runner: &Runner, flags: &[&str]) -> String {
    runner.detached(&[&["--network=none"], flags].concat(), "sleep 1000")
}

/// Starts a command that says `there` in its first line, and waits for that.
fn started(command: &mut Command) -> (Running, BufReader<ChildStdout>) {
    let mut running = Running::start(command.stdout(Stdio::piped()));
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    (running, output)
}

#[test]
fn a_command_is_in_the_containers_namespaces_and_has_no_more_rights() {
    let runner = Runner::new();
    let id = idle(&runner, &["--memory=64m", "-e", "OWN=1", "-w", "/usr"]);
    // What the first process shows, a command that joins must show, too.
    let shown = "for n in cgroup ipc mnt net pid uts; do readlink /proc/$P/ns/$n; done; \
         cat /proc/$P/cgroup; \
         grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask|Sig(Blk|Ign))' /proc/$P/status; \
         cat /proc/$P/limits /proc/$P/oom_score_adj; readlink /proc/$P/cwd /proc/$P/root";
    let of = |process: &str| {
        let script = format!("P={process}; {shown}");
        runner.ok("exec", &[&id, "sh", "-c", &script])
    };
    // Signals are blocked by nobody; the shell reads its own state.
    assert_eq!(of("1"), of("$$"));
    let env = runner.ok("exec", &["-e", "MORE=2", "-e", "OWN=3", &id, "env"]);
    for wanted in ["MORE=2", "OWN=3", "HOME=/root", "PATH="] {
        assert!(env.contains(wanted), "{wanted}: {env}");
    }
    assert!(!env.contains("OWN=1"), "{env}");
}

#[test]
fn no_descriptor_but_the_three_streams() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let fds = runner.ok("exec", &[&id, "sh", "-c", "ls /proc/self/fd"]);
    // 3 is the directory that `ls` lists.
    assert_eq!(
        fds.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
}

#[test]
fn streams_are_apart_and_input_is_passed_only_when_asked() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let said = runner.call("exec", &[&id, "sh", "-c", "echo out; echo err >&2; cat"]);
    assert_eq!((said.out(), said.err()), ("out\n".into(), "err\n".into()));
    let mut command = runner.command("exec");
    command.args(["-i", &id, "sh", "-c", "cat; exit 3"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = "x".repeat(300_000);
    let mut input = child.stdin.take().unwrap();
    let writer = {
        let text = text.clone();
        std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap())
    };
    let ended = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    assert_eq!(ended.stdout.len(), text.len());
}

#[test]
fn a_process_left_in_the_background_holds_nobody_up() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let said = runner.ok("exec", &[&id, "sh", "-c", "sleep 1000 & echo back"]);
    assert_eq!(said, "back");
}

#[test]
fn exit_codes_are_dockers() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let code = |args: &[&str]| runner.call("exec", &[&[&*id], args].concat()).code;
    assert_eq!(code(&["sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["no-such-command"]), 127);
    assert_eq!(code(&["/etc/passwd"]), 126);
    let line = runner
        .call("exec", &["-u", "nobody-here", &id, "true"])
        .one_line_error(125);
    assert!(line.contains("nobody-here"), "{line}");
    let line = runner
        .call("exec", &["-w", "/not/there", &id, "true"])
        .one_line_error(125);
    assert!(line.contains("/not/there"), "{line}");
}

#[test]
fn user_and_privileges_can_be_chosen() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let who = runner.ok(
        "exec",
        &["-u", "nobody", &id, "sh", "-c", "id -u; echo $HOME"],
    );
    assert_eq!(who, "65534\n/nonexistent");
    let caps = "grep CapEff /proc/self/status";
    let usual = runner.ok("exec", &[&id, "sh", "-c", caps]);
    let all = runner.ok("exec", &["--privileged", &id, "sh", "-c", caps]);
    assert_ne!(usual, all);
    assert!(all.contains("1ff"), "{all}");
}

#[test]
fn it_does_not_run_where_the_container_does_not() {
    let runner = Runner::new();
    let id = idle(&runner, &["--name=one"]);
    runner.ok("pause", &[&id]);
    let line = runner.call("exec", &["one", "true"]).one_line_error(125);
    assert!(line.contains("is paused"), "{line}");
    runner.ok("unpause", &[&id]);
    runner.ok("kill", &[&id]);
    runner.wait_for("one", "{{.State.Status}}", "exited");
    let line = runner.call("exec", &["one", "true"]).one_line_error(125);
    assert!(line.contains("is not running"), "{line}");
    runner.call("exec", &["nobody", "true"]).one_line_error(125);
}

#[test]
fn the_end_of_the_container_ends_it() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let mut command = runner.command("exec");
    command.args([&id, "sh", "-c", "echo there; exec sleep 1000"]);
    let (mut running, _output) = started(&mut command);
    runner.ok("kill", &[&id]);
    assert_eq!(running.wait(LIMIT), 137);
}

#[test]
fn signals_go_to_the_command() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let mut command = runner.command("exec");
    let script = "trap 'echo got; exit 5' TERM; echo there; while :; do sleep 0.1; done";
    command.args([&id, "sh", "-c", script]);
    let (mut running, mut output) = started(&mut command);
    running.signal(Signal::TERM);
    assert_eq!(running.wait(LIMIT), 5);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");
}

#[test]
fn detached_commands_run_on() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    runner.ok(
        "exec",
        &["-d", &id, "sh", "-c", "echo done >/mark; sleep 1000"],
    );
    let came = wait_until(Duration::from_secs(120), || {
        runner.call("exec", &[&id, "cat", "/mark"]).out() == "done\n"
    });
    assert!(came, "the detached command did not write");
    let line = runner
        .call("exec", &["-d", &id, "no-such-command"])
        .one_line_error(127);
    assert!(line.contains("no-such-command"), "{line}");
}

#[test]
fn a_terminal_of_its_own() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let mut command = runner.command("exec");
    command.args(["-it", "-e", "PS1=ready:", &id, "sh"]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("ready:");
    terminal.type_in("tty; echo $TERM-$((40+2))\r");
    terminal.expect("/dev/pts/");
    terminal.expect("xterm-42");
    terminal.type_in("exit 4\r");
    assert_eq!(terminal.end(), 4);
}

#[test]
fn twenty_at_once() {
    let runner = Runner::new();
    let id = idle(&runner, &[]);
    let all: Vec<_> = (0..20)
        .map(|number| {
            let mut command = runner.command("exec");
            command.args([&id, "echo", &number.to_string()]);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (number, child) in all.into_iter().enumerate() {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{number}: {ended:?}");
        assert_eq!(ended.stdout, format!("{number}\n").as_bytes());
    }
}
