//! `events`: what happens to containers, then and now.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tests::container::Runner;
use tests::process::Running;

/// Actions told since the beginning, by a filter.
fn actions(runner: &Runner, filters: &[&str]) -> Vec<String> {
    let mut args = vec!["--since=1h", "--until=0s", "--format={{.Action}}"];
    args.extend(filters);
    let out = runner.ok("events", &args);
    out.lines().map(str::to_owned).collect()
}

#[test]
fn a_life_is_told_in_order_and_can_be_filtered() {
    let runner = Runner::new();
    let flags = ["--network=none", "--name=one", "-l", "tier=db"];
    let id = runner.detached(&flags, "exit 3");
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    runner.ok("rename", &["one", "two"]);
    runner.ok("rm", &["two"]);
    let all = actions(&runner, &[]);
    assert_eq!(all, ["create", "start", "die", "rename", "destroy"]);
    assert_eq!(actions(&runner, &["--filter=event=die"]), ["die"]);
    let two = actions(&runner, &["-f", "event=die", "-f", "event=start"]);
    assert_eq!(two, ["start", "die"]);
    assert_eq!(actions(&runner, &["-f", "container=one"]).len(), 3);
    assert_eq!(actions(&runner, &["-f", "container=other"]).len(), 0);
    assert_eq!(actions(&runner, &["-f", "label=tier=db"]).len(), 5);
    assert_eq!(actions(&runner, &["-f", "type=volume"]).len(), 0);
    let code = "{{.Actor.Attributes.exitCode}} {{.Actor.ID}}";
    let args = [
        "--since=1h",
        "--until=0s",
        "-f",
        "event=die",
        "--format",
        code,
    ];
    assert_eq!(runner.ok("events", &args), format!("3 {id}"));
    runner
        .call("events", &["--filter=frob=x"])
        .one_line_error(125);
    runner.call("events", &["--since=frob"]).one_line_error(125);
}

#[test]
fn what_happens_next_is_told_when_it_happens() {
    let runner = Runner::new();
    // Something before: that is not told.
    runner.debian(&["--network=none"], "true").ok();
    let mut command = runner.command("events");
    command.args(["--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
    let mut running = Running::start(command.stdout(Stdio::piped()));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    // Until the first is heard nobody knows that it listens: they are made until then.
    let first = std::thread::spawn(move || (lines.next().unwrap().unwrap(), lines));
    let mut made = 0;
    while !first.is_finished() {
        made += 1;
        let name = format!("--name=c{made}");
        runner.debian(&["--network=none", &name], "true").ok();
    }
    let (line, mut lines) = first.join().unwrap();
    assert!(line.contains(" c"), "{line}");
    let id = runner.detached(&["--network=none", "--name=last"], "true");
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    let mut told = lines.by_ref().map(Result::unwrap);
    assert!(told.any(|line| line == "die last"));
}

#[test]
fn networks_that_a_container_comes_on_and_goes_off_are_told() {
    let runner = Runner::new();
    runner.ok("network", &["create", "back"]);
    let id = runner.ok("create", &["--name=one", "--network=none", "host", "true"]);
    let all = [
        "-f",
        "type=network",
        "-f",
        "event=connect",
        "-f",
        "event=disconnect",
    ];
    assert!(actions(&runner, &all).is_empty());
    runner.ok("rm", &["one"]);
    let created = runner.ok("create", &["--name=two", "host", "sleep", "4716"]);
    assert_ne!(created, id);
    // One that does not run, then one that does.
    for started in [false, true] {
        if started {
            runner.ok("start", &["two"]);
        }
        runner.ok("network", &["connect", "back", "two"]);
        runner.ok("network", &["disconnect", "back", "two"]);
    }
    let told = actions(&runner, &all);
    assert_eq!(told, ["connect", "disconnect", "connect", "disconnect"]);
    let format = "{{.Actor.Attributes.name}} {{.Actor.Attributes.container}}";
    let since = ["--since=1h", "--until=0s", "--format", format];
    let told = runner.ok("events", &[&since[..], &all].concat());
    for line in told.lines() {
        assert_eq!(line, format!("back {created}"));
    }
    // What is refused is not told.
    runner
        .call("network", &["disconnect", "back", "two"])
        .one_line_error(125);
    assert_eq!(actions(&runner, &all).len(), 4);
}
