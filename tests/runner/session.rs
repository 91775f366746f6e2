//! Containers outlive the session that started them, also where a session manager kills by group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::container::Runner;
use tests::process::{run, wait_until};

/// A control group as a session manager makes one for a login: in v2, and in the named hierarchy of v1.
struct Session {
    groups: Vec<PathBuf>,
}

impl Session {
    fn new() -> Self {
        let roots = ["", "unified", "systemd"].map(|n| Path::new("/sys/fs/cgroup").join(n));
        let roots = roots
            .into_iter()
            .filter(|r| r.join("cgroup.procs").exists());
        let groups: Vec<_> = roots
            .map(|root| root.join(format!("session-{}", std::process::id())))
            .collect();
        assert!(!groups.is_empty(), "no hierarchy to make a session in");
        for group in &groups {
            fs::create_dir(group).unwrap();
        }
        Self { groups }
    }

    /// The command, started in the session.
    fn within(&self, command: &Command) -> Command {
        let enter = self.groups.iter();
        let enter = enter.map(|g| format!("echo 0 > {}/cgroup.procs; ", g.display()));
        let script = enter.collect::<String>() + "exec \"$@\"";
        let mut inside = Command::new("sh");
        inside
            .args(["-c", &script, "sh"])
            .arg(command.get_program());
        inside.args(command.get_args());
        inside
    }

    fn members(&self) -> String {
        let lists = self.groups.iter();
        let lists = lists.map(|g| fs::read_to_string(g.join("cgroup.procs")).unwrap());
        lists.collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for group in &self.groups {
            wait_until(Duration::from_secs(20), || fs::remove_dir(group).is_ok());
        }
    }
}

/// What the machine knows of the groups of a process.
fn groups_of(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let managed = |line: &&str| line.starts_with("0::") || line.contains(":name=");
    let lines = text.lines().filter(managed);
    lines
        .map(|l| l.rsplit(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn nothing_of_a_container_stays_in_the_group_of_the_session_that_started_it() {
    let runner = Runner::new();
    let session = Session::new();
    let mut command = runner.command("run");
    command.args(["-d", "-p", "127.0.0.1::80", "host", "sleep", "4713"]);
    let id = run(&mut session.within(&command)).ok().trim().to_owned();
    let mut exec = runner.command("exec");
    exec.args(["-d", &id, "sleep", "4714"]);
    run(&mut session.within(&exec)).ok();
    assert_eq!(session.members(), "");
    let state = runner.state().display().to_string();
    let ours = tools::leaks::processes_naming(&state);
    assert!(!ours.is_empty());
    for (pid, line) in ours {
        for group in groups_of(pid) {
            assert_eq!(group, "/runner/monitors", "{pid}: {line}");
        }
    }
    // As systemd does with KillUserProcesses=yes.
    for group in &session.groups {
        let _ = fs::write(group.join("cgroup.kill"), "1");
    }
    runner.wait_for(&id, "{{.State.Status}}", "running");
    runner.ok("exec", &[&id, "true"]);
}

#[test]
fn the_group_of_the_monitors_goes_with_the_last_of_them() {
    let runner = Runner::new();
    let id = runner.detached(&[], "sleep 4715");
    let pid: i32 = runner.inspect(&id, "{{.State.Pid}}").parse().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|l| l.strip_prefix("PPid:\t"));
    let monitor: i32 = parent.unwrap().parse().unwrap();
    let groups = groups_of(monitor);
    assert!(!groups.is_empty());
    assert!(groups.iter().all(|g| g == "/runner/monitors"), "{groups:?}");
    runner.ok("rm", &["-f", &id]);
    // Others run containers meanwhile: none but living monitors keep it.
    let lists = ["", "unified", "systemd"];
    let lists = lists.map(|n| Path::new("/sys/fs/cgroup").join(n).join("runner/monitors"));
    let gone = wait_until(Duration::from_secs(60), || {
        lists.iter().all(|group| {
            let procs = fs::read_to_string(group.join("cgroup.procs"));
            procs.map_or(true, |procs| !procs.is_empty())
        })
    });
    assert!(gone, "an empty group of monitors stays");
}
