//! `attach`: several users of one container's streams, on pipes and on a terminal.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use rustix::termios::tcsetwinsize;
use tests::container::{Runner, debian};
use tests::process::{Running, wait_until};
use tests::terminal::{Terminal, size};

/// `runner attach ARGS...` on a terminal of its own.
fn attached(runner: &Runner, args: &[&str]) -> Terminal {
    let mut command = runner.command("attach");
    command.args(args);
    Terminal::start(&command)
}

/// `runner run -d -it ...` with a shell whose prompt is `ready:`.
fn shell(runner: &Runner, name: &str) {
    let image = format!("dir:{}", debian().display());
    runner.ok(
        "run",
        &[
            "-d",
            "-it",
            "--name",
            name,
            "-e",
            "PS1=ready:",
            &image,
            "sh",
        ],
    );
}

#[test]
fn several_users_of_one_terminal() {
    let runner = Runner::new();
    shell(&runner, "tty");
    let mut one = attached(&runner, &["tty"]);
    let mut two = attached(&runner, &["tty"]);
    one.type_in("\r");
    one.expect("ready:");
    one.type_in("echo from-$((1+0))\r");
    for user in [&one, &two] {
        user.expect("from-1");
    }
    two.type_in("echo from-$((1+1))\r");
    for user in [&one, &two] {
        user.expect("from-2");
    }
    // One lets go, the other stays, the container goes on.
    one.type_in("\x10\x11");
    assert_eq!(one.end(), 0);
    assert!(
        one.text().contains("read escape sequence"),
        "{}",
        one.text()
    );
    assert_eq!(runner.inspect("tty", "{{.State.Status}}"), "running");
    two.type_in("echo still; exit 6\r");
    two.expect("still");
    assert_eq!(two.end(), 6);
    runner.wait_for("tty", "{{.State.Status}} {{.State.ExitCode}}", "exited 6");
}

#[test]
fn detach_keys_can_be_chosen() {
    let runner = Runner::new();
    shell(&runner, "keys");
    let mut user = attached(&runner, &["--detach-keys", "ctrl-a,d", "keys"]);
    user.type_in("\r");
    user.expect("ready:");
    // The usual ones are ordinary keys now, and so is the half of the chosen ones.
    user.type_in("echo \x01x | od -An -tx1\r");
    user.expect("01 78");
    user.type_in("\x01d");
    assert_eq!(user.end(), 0);
    let line = runner
        .call("attach", &["--detach-keys", "ctrl-1", "keys"])
        .one_line_error(125);
    assert!(line.contains("--detach-keys"), "{line}");
}

#[test]
fn a_run_is_detached_and_attached_again() {
    let runner = Runner::new();
    let mut command = runner.command("run");
    command.args(["-it", "--name", "again", "-e", "PS1=ready:", "host", "sh"]);
    let mut first = Terminal::start(&command);
    first.expect("ready:");
    first.type_in("X=kept\r\x10\x11");
    assert_eq!(first.end(), 0);
    let mut second = attached(&runner, &["again"]);
    second.type_in("\recho is-$X\r");
    second.expect("is-kept");
    second.type_in("exit 3\r");
    assert_eq!(second.end(), 3);
}

#[test]
fn a_terminal_that_closes_leaves_the_container_running() {
    let runner = Runner::new();
    let mut command = runner.command("run");
    command.args(["-it", "--name", "hup", "-e", "PS1=ready:", "host", "sh"]);
    let terminal = Terminal::start(&command);
    terminal.expect("ready:");
    let pid = terminal.running.pid();
    drop(terminal);
    let gone = wait_until(Duration::from_secs(120), || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    assert!(gone, "the client outlives its terminal");
    assert_eq!(runner.inspect("hup", "{{.State.Status}}"), "running");
}

#[test]
fn the_size_follows_whoever_looks_last() {
    let runner = Runner::new();
    shell(&runner, "size");
    let mut user = attached(&runner, &["size"]);
    user.type_in("\rstty size\r");
    user.expect("30 100");
    tcsetwinsize(&user.master, size(11, 44)).unwrap();
    let changed = wait_until(Duration::from_secs(120), || {
        user.type_in("stty size\r");
        std::thread::sleep(Duration::from_millis(50));
        user.text().contains("11 44")
    });
    assert!(changed, "{}", user.text());
    user.type_in("exit\r");
    user.end();
}

#[test]
fn pipes_are_shared_too() {
    let runner = Runner::new();
    let image = format!("dir:{}", debian().display());
    runner.ok(
        "run",
        &[
            "-d",
            "-i",
            "--name",
            "cat",
            &image,
            "sh",
            "-c",
            "while read x; do echo out $x; echo err $x >&2; done; exit 4",
        ],
    );
    let start = || {
        let mut command = runner.command("attach");
        command
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::start(&mut command)
    };
    let (mut one, mut two) = (start(), start());
    let ready = || runner.state().join("containers").exists();
    assert!(ready());
    std::thread::sleep(Duration::from_millis(500));
    one.0.stdin.take().unwrap().write_all(b"a\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // The first one's end of input is not the container's: it was not started for it.
    assert_eq!(runner.inspect("cat", "{{.State.Status}}"), "running");
    let mut input = two.0.stdin.take().unwrap();
    input.write_all(b"b\n").unwrap();
    runner.wait_for_log("cat", "out b");
    runner.ok("stop", &["-t", "0", "cat"]);
    for user in [&mut one, &mut two] {
        assert_eq!(user.wait(Duration::from_secs(10)), 137);
        let (mut out, mut err) = (String::new(), String::new());
        user.0
            .stdout
            .as_mut()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        user.0
            .stderr
            .as_mut()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("out a\nout b\n", "err a\nerr b\n")
        );
    }
}

#[test]
fn signals_are_handed_on_unless_told_otherwise() {
    let runner = Runner::new();
    let script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    for proxy in [false, true] {
        let id = runner.detached(&[], script);
        runner.wait_for_log(&id, "ready");
        let flag = format!("--sig-proxy={proxy}");
        let mut command = runner.command("attach");
        command.args([&flag, &id]).stdout(Stdio::null());
        let mut user = Running::start(&mut command);
        std::thread::sleep(Duration::from_millis(500));
        user.signal(Signal::TERM);
        let code = user.wait(Duration::from_secs(10));
        if proxy {
            assert_eq!(code, 5);
        } else {
            assert_eq!(code, 128 + 15);
            assert_eq!(runner.inspect(&id, "{{.State.Status}}"), "running");
        }
    }
}

#[test]
fn no_stdin_types_nothing() {
    let runner = Runner::new();
    runner.ok("run", &["-d", "-i", "--name", "quiet", "host", "cat"]);
    let mut command = runner.command("attach");
    command.args(["--no-stdin", "quiet"]).stdin(Stdio::piped());
    let mut user = Running::start(&mut command);
    std::thread::sleep(Duration::from_millis(300));
    user.0.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(runner.call("logs", &["quiet"]).ok(), "");
}

#[test]
fn a_user_who_does_not_read_loses_nothing_and_holds_nobody_for_ever() {
    let runner = Runner::new();
    runner.detached(&["--name", "much"], "while ! test -e /go; do sleep 0.05; test $((n=n+1)) -gt 20 && touch /go; done; seq 300000; echo end");
    let mut command = runner.command("attach");
    command.args(["much"]).stdout(Stdio::piped());
    let mut user = Running::start(&mut command);
    // The container is held back, not ended, while a megabyte and more waits.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(runner.inspect("much", "{{.State.Status}}"), "running");
    let mut all = String::new();
    user.0
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut all)
        .unwrap();
    assert!(all.ends_with("300000\nend\n"), "{} bytes", all.len());
    assert_eq!(user.wait(Duration::from_secs(10)), 0);
}

#[test]
fn what_cannot_be_attached_to() {
    let runner = Runner::new();
    runner.ok("create", &["--name", "made", "host", "true"]);
    let line = runner.call("attach", &["made"]).one_line_error(125);
    assert!(line.contains("start it first"), "{line}");
    runner.call("attach", &["nobody"]).one_line_error(125);
    shell(&runner, "tty");
    let line = runner.call("attach", &["tty"]).one_line_error(125);
    assert!(line.contains("terminal"), "{line}");
}
