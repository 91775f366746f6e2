//! Control groups for real: as root, on this machine, in groups of our own.

use super::*;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

/// A group that goes with the test, whatever happens.
struct Owned(Cgroup);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill_all();
        let _ = self.0.remove();
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn make(tag: &str, limits: &Limits, devices: DevicePolicy) -> (Owned, Vec<String>) {
    let name = format!("test-{tag}-{}", std::process::id());
    let (cgroup, warnings) = Cgroup::create(&name, limits, devices).unwrap();
    (Owned(cgroup), warnings)
}

/// Runs a shell script inside the group: it waits for a line on stdin before it starts.
fn spawn(cgroup: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    for group in &cgroup.groups {
        let pid = child.id().to_string();
        group.write("cgroup.procs", &pid).unwrap();
    }
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

#[test]
fn memory_is_really_limited_and_the_oom_kill_remembered() {
    if !root() {
        return;
    }
    let limits = Limits {
        memory: Some(32 << 20),
        memory_swap: Some(MemorySwap::Bytes(32 << 20)),
        pids: Some(50),
        ..Limits::default()
    };
    let (owned, warnings) = make("oom", &limits, DevicePolicy::Off);
    assert!(
        warnings.iter().all(|w| w.contains("No swap limit support")),
        "{warnings:?}"
    );
    assert_eq!(owned.0.memory_limit(), Some(32 << 20));
    assert!(!owned.0.oom_killed().unwrap());
    let status = spawn(
        &owned.0,
        "exec head -c 200000000 /dev/zero | tail -c 200000000",
    )
    .wait_with_output()
    .unwrap();
    assert!(!status.status.success() || status.stdout.is_empty());
    assert!(owned.0.members().is_empty());
    assert!(owned.0.oom_killed().unwrap());
    owned.0.remove().unwrap();
    assert!(Cgroup::open(owned.0.name()).unwrap().is_none());
}

#[test]
fn processes_are_counted_killed_and_cleared_away() {
    if !root() {
        return;
    }
    let limits = Limits {
        pids: Some(8),
        ..Limits::default()
    };
    let (owned, _) = make("kill", &limits, DevicePolicy::Container(Vec::new()));
    // Forks until it may not, which ends the inner shell but not its children.
    let mut child = spawn(&owned.0, "(while :; do sleep 100 & done); sleep 100");
    std::thread::sleep(Duration::from_millis(200));
    let members = owned.0.members();
    assert!((2..=8).contains(&members.len()), "{members:?}");
    assert!(members.contains(&(child.id() as i32)));
    owned.0.kill_all().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(owned.0.members().is_empty());
    Cgroup::remove_stale(owned.0.name()).unwrap();
    Cgroup::remove_stale(owned.0.name()).unwrap();
}

#[test]
fn the_slow_kill_works_without_cgroup_kill() {
    if !root() {
        return;
    }
    let (owned, _) = make("slow", &Limits::default(), DevicePolicy::Off);
    let mut child = spawn(&owned.0, "sleep 100 & sleep 100 & wait");
    std::thread::sleep(Duration::from_millis(50));
    owned.0.kill_frozen();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn devices_outside_the_list_are_refused() {
    if !root() {
        return;
    }
    let (owned, _) = make(
        "devices",
        &Limits::default(),
        DevicePolicy::Container(Vec::new()),
    );
    let script = "cat </dev/null && head -c1 /dev/zero >/dev/null && \
                  ! true </dev/kmsg && echo yes";
    let output = spawn(&owned.0, script).wait_with_output().unwrap();
    assert_eq!(output.stdout, b"yes\n");
}

#[test]
fn the_device_program_passes_the_kernels_verifier_and_bites() {
    let pure = Hierarchy {
        version: Version::V2,
        ..unified()
    };
    if !root() || pure.mount.as_os_str().is_empty() {
        return;
    }
    let name = format!("test-bpf-{}", std::process::id());
    let group = Group::make(&pure, &name, &[]).unwrap();
    let owned = Owned(Cgroup {
        name,
        groups: vec![group],
    });
    owned
        .0
        .restrict_devices(DevicePolicy::Container(Vec::new()))
        .unwrap();
    let script = "cat </dev/null && ! true </dev/kmsg && echo yes";
    let output = spawn(&owned.0, script).wait_with_output().unwrap();
    assert_eq!(output.stdout, b"yes\n");
}

fn unified() -> Hierarchy {
    let all = hierarchy::detect().unwrap();
    let none = Hierarchy {
        version: Version::V2,
        mount: PathBuf::new(),
        controllers: Vec::new(),
    };
    all.into_iter()
        .find(|h| h.version == Version::V2)
        .unwrap_or(none)
}

#[test]
fn processors_are_pinned_and_shared() {
    if !root() {
        return;
    }
    let limits = Limits {
        cpus: Some(0.5),
        cpuset_cpus: Some("0".to_owned()),
        ..Limits::default()
    };
    let (owned, _) = make("cpu", &limits, DevicePolicy::Privileged);
    let output = spawn(
        &owned.0,
        "grep Cpus_allowed_list /proc/self/status; cat /proc/self/cgroup",
    )
    .wait_with_output()
    .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("Cpus_allowed_list:\t0\n"), "{text}");
    let ours = format!(":/runner/{}", owned.0.name());
    assert!(
        text.lines().skip(1).all(|line| line.ends_with(&ours)),
        "{text}"
    );
    let views = owned.0.view();
    assert_eq!(views.len(), text.lines().count() - 1);
    assert!(
        views
            .iter()
            .all(|view| view.host.is_dir() && !view.name.is_empty())
    );
}

#[test]
fn bad_names_never_become_paths() {
    for name in ["", ".", "..", "a/b", "../x", "a b"] {
        assert!(
            matches!(Cgroup::open(name), Err(CgroupError::Name { .. })),
            "{name}"
        );
    }
}
