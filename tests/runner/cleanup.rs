//! Everything is gone afterwards, whoever dies first.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::container::{Runner, cgroups_of};
use tests::process::{Running, run, wait_until};

/// A container that sleeps; its short id, and the client.
fn sleeper(runner: &Runner, flags: &[&str]) -> (Running, String) {
    let marks = runner.scratch.dir("marks");
    let _ = std::fs::remove_file(marks.join("id"));
    let volume = format!("{}:/marks", marks.display());
    let mut command = runner.command("run");
    command
        .args(flags)
        .args(["-v", &volume, "host", "sh", "-c"]);
    command.arg("hostname > /marks/part; mv /marks/part /marks/id; sleep 4711 & sleep 4711");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let running = Running::start(&mut command);
    let ready = wait_until(Duration::from_secs(120), || marks.join("id").exists());
    assert!(ready, "the container never started");
    let id = std::fs::read_to_string(marks.join("id"))
        .unwrap()
        .trim()
        .to_owned();
    (running, id)
}

/// Processes that live in one of the container's cgroups.
fn members(id: &str) -> Vec<i32> {
    let lists = cgroups_of(id).into_iter();
    let lists = lists.filter_map(|g| std::fs::read_to_string(g.join("cgroup.procs")).ok());
    let mut all: Vec<i32> = lists
        .flat_map(|l| l.lines().filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Pid 1 of the container, as the host counts.
fn first(id: &str) -> i32 {
    let is_first = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .any(|l| l.starts_with("NSpid:") && l.ends_with("\t1"))
    };
    members(id)
        .into_iter()
        .find(is_first)
        .expect("no pid 1 in the container's cgroups")
}

#[track_caller]
fn all_gone(runner: &Runner, id: &str) {
    let gone = wait_until(Duration::from_secs(120), || cgroups_of(id).is_empty());
    assert!(
        gone,
        "cgroups left: {:?} with {:?}",
        cgroups_of(id),
        members(id)
    );
    runner.nothing_left();
}

#[test]
fn after_a_plain_run_nothing_is_left() {
    let runner = Runner::new();
    let id = runner.sh(&[], "hostname").ok();
    all_gone(&runner, id.trim());
}

#[test]
fn background_processes_end_with_the_command() {
    let runner = Runner::new();
    let script = "for i in 1 2 3; do setsid sleep 4712 & done; trap '' TERM; hostname";
    let id = runner.sh(&[], script).ok();
    all_gone(&runner, id.trim());
    assert!(
        tools::leaks::processes_naming("sleep 4712")
            .iter()
            .all(|p| p.1.contains("setsid sh -c"))
    );
}

#[test]
fn a_client_that_is_killed_leaves_a_container_that_removes_itself_at_its_end() {
    let runner = Runner::new();
    let (mut client, id) = sleeper(&runner, &["--rm"]);
    client.signal(Signal::KILL);
    client.wait(Duration::from_secs(10));
    assert!(
        !members(&id).is_empty(),
        "no process in a cgroup named after the container"
    );
    kill_process(Pid::from_raw(first(&id)).unwrap(), Signal::KILL).unwrap();
    all_gone(&runner, &id);
}

/// Kills the monitor of a container that runs.
fn kill_monitor(id: &str) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", first(id))).unwrap();
    let parent = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:"))
        .unwrap()
        .trim();
    let name = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap();
    assert!(name.contains("monitor"), "the parent of pid 1 is {name:?}");
    let monitor = Pid::from_raw(parent.parse().unwrap()).unwrap();
    kill_process(monitor, Signal::KILL).unwrap();
    // The container dies with it.
    let dead = wait_until(Duration::from_secs(20), || members(id).is_empty());
    assert!(dead, "{:?}", members(id));
}

/// What a root knows of its networks.
fn networks(runner: &Runner) -> serde_json::Value {
    let text = std::fs::read(runner.state().join("networks.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The kernel's number of a root's packet filtering table, which no other table ever has.
fn table_of(runner: &Runner) -> u64 {
    let state = networks(runner);
    let name = state["table"]["name"].as_str().unwrap();
    let table = tables().into_iter().find(|(table, _)| table == name);
    table.unwrap_or_else(|| panic!("no table {name}")).1
}

/// All tables, by name and number.
fn tables() -> Vec<(String, u64)> {
    let listed = run(Command::new("nft").args(["-j", "list", "tables"])).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let tables = listed["nftables"].as_array().unwrap().iter();
    tables
        .filter_map(|entry| {
            let table = &entry["table"];
            Some((
                table["name"].as_str()?.to_owned(),
                table["handle"].as_u64()?,
            ))
        })
        .collect()
}

#[track_caller]
fn table_goes(number: u64) {
    let gone = || tables().iter().all(|(_, table)| *table != number);
    assert!(wait_until(Duration::from_secs(20), gone), "{:?}", tables());
}

#[test]
fn the_table_of_killed_holders_goes_with_the_next_command() {
    let runner = Runner::new();
    let id = runner.detached(&["--network", "bridge"], "exec sleep 4713");
    let table = table_of(&runner);
    kill_monitor(&id);
    runner.ok("ps", &[]);
    table_goes(table);
}

#[test]
fn the_table_of_a_root_that_is_gone_goes_with_the_next_bridged_container() {
    let lost = Runner::new();
    let id = lost.detached(&["--network", "bridge"], "exec sleep 4714");
    let table = table_of(&lost);
    assert_eq!(tools::leaks::bridges_of(lost.scratch.path()).len(), 1);
    kill_monitor(&id);
    std::fs::remove_dir_all(lost.state()).unwrap();
    let other = Runner::new();
    other.sh(&["--network", "bridge"], "true").ok();
    table_goes(table);
    // Who removes a root while its monitors are killed has to remove these by hand, too.
    for bridge in tools::leaks::bridges_of(lost.scratch.path()) {
        run(Command::new("ip").args(["link", "delete", &bridge])).ok();
    }
    for group in cgroups_of(&id) {
        std::fs::remove_dir(group).unwrap();
    }
}

/// chattr +i and +a on files and directories: root cannot remove them as they are.
#[test]
fn what_a_container_made_immutable_goes_with_it() {
    let runner = Runner::new();
    let script = "mkdir -p /d/e && echo x > /d/e/f && echo y > /d/a && chattr +i /d/e/f && \
        chattr +i /d/e && chattr +a /d/a && chattr +i /d && rm -rf /d; test -e /d/e/f";
    let flags = ["--cap-add", "LINUX_IMMUTABLE"];
    let done = runner.debian(&flags, script);
    assert_eq!(done.code, 0, "{done}");
    assert!(!done.err().contains("runner"), "{done}");
    let kept = runner.detached(&flags, script);
    runner.ok("wait", &[&kept]);
    runner.ok("rm", &[&kept]);
}

#[test]
fn a_monitor_that_is_killed_leaves_what_the_next_command_clears() {
    let runner = Runner::new();
    let (mut client, id) = sleeper(&runner, &["--rm"]);
    kill_monitor(&id);
    let code = client.wait(Duration::from_secs(20));
    assert_ne!(code, 0, "the client calls a killed container a success");
    runner.sh(&[], "true").ok();
    all_gone(&runner, &id);
}

#[test]
fn an_init_that_is_killed_from_outside_is_137() {
    let runner = Runner::new();
    let (mut client, id) = sleeper(&runner, &["--rm"]);
    kill_process(Pid::from_raw(first(&id)).unwrap(), Signal::KILL).unwrap();
    assert_eq!(client.wait(Duration::from_secs(20)), 137);
    all_gone(&runner, &id);
}

#[test]
fn failed_starts_leave_nothing() {
    let runner = Runner::new();
    for args in [
        &["host", "no-such-command"][..],
        &["-u", "no-such-user", "host", "true"],
        &["-w", "/etc/passwd", "host", "true"],
        &["-v", "/no/such/source:/x", "host", "true"],
        &["-m", "1m", "host", "true"],
        &["no-such-image", "true"],
        &["--security-opt", "seccomp=/no/such", "host", "true"],
    ] {
        let output = runner.run(args);
        assert_ne!(output.code, 0, "{output}");
        runner.nothing_left();
    }
}

#[test]
fn many_at_once() {
    let runner = Runner::new();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let runner = &runner;
            scope.spawn(move || {
                for i in 0..3 {
                    let text = format!("{worker}-{i}");
                    assert_eq!(
                        runner.sh(&[], &format!("echo {text}")).ok(),
                        format!("{text}\n")
                    );
                }
            });
        }
    });
}

#[test]
fn a_container_without_rm_stays_until_it_is_removed() {
    let runner = Runner::new();
    let mut command = runner.command("run");
    command.args([
        "--name",
        "kept",
        "host",
        "sh",
        "-c",
        "echo data > /data; hostname",
    ]);
    let id = tests::process::run(&mut command).ok();
    assert_eq!(runner.containers().len(), 1);
    let gone = wait_until(Duration::from_secs(120), || {
        cgroups_of(id.trim()).is_empty()
    });
    assert!(gone, "a stopped container keeps its cgroups");
    assert!(
        tests::mounts::mounts_below(runner.state()).is_empty(),
        "and its mounts"
    );
    runner
        .call("run", &["--name", "kept", "host", "true"])
        .one_line_error(125);
    runner.call("rm", &["kept"]).ok();
    all_gone(&runner, id.trim());
}
