//! `stop`, `kill`, `restart`, `wait`: how a container is ended, and what is told of it.

use std::time::{Duration, Instant};

use tests::container::{Runner, cgroups_of};
use tests::process::{Running, wait_until};

/// Ends with 7 when asked to.
const POLITE: &str = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
/// Does not end when asked to.
const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

#[test]
fn it_asks_before_it_kills() {
    let runner = Runner::new();
    let id = runner.detached(&["--name", "polite"], POLITE);
    runner.wait_for_log("polite", "ready");
    assert_eq!(runner.ok("stop", &["polite"]), "polite");
    assert_eq!(
        runner.inspect("polite", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 7"
    );
    assert!(runner.call("logs", &["polite"]).ok().ends_with("bye\n"));
    // At once free: nothing has to be waited for.
    assert!(cgroups_of(&id).is_empty());
    runner.ok("rm", &["polite"]);
}

#[test]
fn it_kills_when_the_time_is_over() {
    let runner = Runner::new();
    for (flags, seconds) in [(&["-t", "1"][..], 1), (&["-t", "0"], 0), (&["--time=1"], 1)] {
        let id = runner.detached(&[], STUBBORN);
        runner.wait_for_log(&id, "ready");
        let began = Instant::now();
        runner.ok("stop", &[flags, &[&id]].concat());
        assert!(began.elapsed() >= Duration::from_secs(seconds));
        assert_eq!(runner.inspect(&id, "{{.State.ExitCode}}"), "137");
    }
    let id = runner.detached(&["--stop-timeout", "1"], STUBBORN);
    runner.wait_for_log(&id, "ready");
    runner.ok("stop", &[&id]);
    assert_eq!(runner.inspect(&id, "{{.State.ExitCode}}"), "137");
}

#[test]
fn the_containers_own_signal_is_used() {
    let runner = Runner::new();
    let script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    for (own, given) in [
        (&["--stop-signal", "SIGUSR1"][..], &[][..]),
        (&[], &["-s", "10"]),
    ] {
        let id = runner.detached(own, script);
        runner.wait_for_log(&id, "ready");
        runner.ok("stop", &[given, &[&id]].concat());
        assert_eq!(runner.inspect(&id, "{{.State.ExitCode}}"), "9");
    }
}

#[test]
fn stopping_what_has_ended_is_fine_and_what_is_not_there_is_not() {
    let runner = Runner::new();
    let id = runner.detached(&["--name", "short"], "exit 4");
    assert_eq!(runner.ok("wait", &["short"]), "4");
    assert_eq!(runner.ok("stop", &["short"]), "short");
    assert_eq!(runner.inspect(&id, "{{.State.ExitCode}}"), "4");
    assert_eq!(
        runner.call("stop", &["nobody"]).one_line_error(125),
        "runner: no such container: nobody"
    );
    for flags in [&["-s", "NOPE"][..], &["-t", "soon"]] {
        runner
            .call("stop", &[flags, &["short"]].concat())
            .one_line_error(125);
    }
}

#[test]
fn kill_sends_any_signal() {
    let runner = Runner::new();
    let script =
        "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done";
    runner.detached(&["--name", "kk"], script);
    runner.wait_for_log("kk", "ready");
    for (signal, said) in [
        ("USR1", "usr1"),
        ("SIGHUP", "hup"),
        ("10", "usr1\nhup\nusr1"),
    ] {
        assert_eq!(runner.ok("kill", &["-s", signal, "kk"]), "kk");
        runner.wait_for_log("kk", said);
    }
    assert_eq!(runner.ok("kill", &["kk"]), "kk");
    assert_eq!(runner.ok("wait", &["kk"]), "137");
    let line = runner.call("kill", &["kk"]).one_line_error(125);
    assert!(line.contains("is not running"), "{line}");
    runner
        .call("kill", &["-s", "NOPE", "kk"])
        .one_line_error(125);
}

#[test]
fn wait_gives_every_code_in_order() {
    let runner = Runner::new();
    runner.detached(&["--name", "slow"], "sleep 0.5; exit 5");
    runner.detached(&["--name", "fast"], "exit 6");
    assert_eq!(runner.ok("wait", &["slow", "fast"]), "5\n6");
    let output = runner.call("wait", &["nobody", "fast"]);
    assert_eq!((output.code, output.out().as_str()), (125, "6\n"));
    // What removes itself can be waited for, too.
    let id = runner.detached(&["--rm"], "sleep 0.5; exit 8");
    assert_eq!(runner.ok("wait", &[&id]), "8");
}

#[test]
fn after_wait_the_container_is_free() {
    let runner = Runner::new();
    for _ in 0..10 {
        let id = runner.detached(&[], "exit 1");
        runner.ok("wait", &[&id]);
        runner.ok("rm", &[&id]);
        runner.nothing_left();
    }
}

#[test]
fn restart_keeps_the_files_and_makes_a_new_life() {
    let runner = Runner::new();
    runner.detached(
        &["--name", "rr"],
        &format!("date +%N >> /lives; wc -l < /lives; {POLITE}"),
    );
    runner.wait_for_log("rr", "ready");
    let before = runner.inspect("rr", "{{.State.Pid}} {{.State.StartedAt}}");
    assert_eq!(runner.ok("restart", &["-t", "5", "rr"]), "rr");
    let after = runner.inspect("rr", "{{.State.Pid}} {{.State.StartedAt}}");
    assert_ne!(before, after);
    runner.wait_for_log("rr", "2\nready");
    // One that has ended is simply started.
    runner.ok("stop", &["-t", "0", "rr"]);
    runner.ok("restart", &["rr"]);
    assert_eq!(
        runner.inspect("rr", "{{.State.Status}} {{.State.ExitCode}}"),
        "running 0"
    );
    runner.wait_for_log("rr", "3\nready");
}

#[test]
fn a_stop_reaches_those_who_wait_and_those_attached() {
    let runner = Runner::new();
    let id = runner.detached(&[], POLITE);
    runner.wait_for_log(&id, "ready");
    let mut waiting = runner.command("wait");
    let mut waiting = Running::start(waiting.arg(&id).stdout(std::process::Stdio::null()));
    let mut attached = runner.command("attach");
    let mut attached = Running::start(attached.arg(&id).stdout(std::process::Stdio::null()));
    std::thread::sleep(Duration::from_millis(300));
    runner.ok("stop", &[&id]);
    assert_eq!(waiting.wait(Duration::from_secs(10)), 0);
    assert_eq!(attached.wait(Duration::from_secs(10)), 7);
}

#[test]
fn many_stops_at_once_are_one() {
    let runner = Runner::new();
    let id = runner.detached(&[], STUBBORN);
    runner.wait_for_log(&id, "ready");
    std::thread::scope(|scope| {
        for seconds in ["1", "2", "60", "-1"] {
            let (runner, id) = (&runner, &id);
            scope.spawn(move || runner.ok("stop", &["-t", seconds, id]));
        }
    });
    assert_eq!(runner.inspect(&id, "{{.State.ExitCode}}"), "137");
}

#[test]
fn restart_policies() {
    let runner = Runner::new();
    let script = "echo life >> /lives; wc -l < /lives; exit $(cat /code 2>/dev/null || echo 3)";
    // At most two more tries.
    let id = runner.detached(&["--restart", "on-failure:2"], script);
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    assert_eq!(
        runner.inspect(&id, "{{.RestartCount}} {{.State.ExitCode}}"),
        "2 3"
    );
    assert_eq!(runner.call("logs", &[&id]).ok(), "1\n2\n3\n");
    // No failure, no try.
    let id = runner.detached(&["--restart", "on-failure"], "exit 0");
    assert_eq!(runner.ok("wait", &[&id]), "0");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        runner.inspect(&id, "{{.State.Status}} {{.RestartCount}}"),
        "exited 0"
    );
    // Until it is stopped, in the pause between two lives or in one.
    for policy in ["always", "unless-stopped"] {
        let id = runner.detached(&["--restart", policy], "sleep 0.05");
        let again = wait_until(Duration::from_secs(120), || {
            runner
                .inspect(&id, "{{.RestartCount}}")
                .parse::<u32>()
                .unwrap()
                >= 2
        });
        assert!(again, "not started again");
        runner.ok("stop", &[&id]);
        assert_eq!(runner.inspect(&id, "{{.State.Status}}"), "exited");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(runner.inspect(&id, "{{.State.Status}}"), "exited");
    }
    // A kill from outside is a failure, the user's is a wish.
    let id = runner.detached(&["--restart", "always"], "sleep 1000");
    let pid = runner.inspect(&id, "{{.State.Pid}}");
    tests::process::call("kill", &["-9", &pid]).ok();
    runner.wait_for(&id, "{{.RestartCount}} {{.State.Status}}", "1 running");
    runner.ok("kill", &[&id]);
    runner.wait_for(&id, "{{.State.Status}}", "exited");
}
