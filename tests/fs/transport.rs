//! How requests come: over rings where they can be had, else over /dev/fuse, and never half of each.
//!
//! All other tests run with either, as `LAYERFS_TRANSPORT` says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tests::layers::Layer;
use tests::mounts::{Mount, Union, is_mounted};
use tests::process::{Output, run, wait_until};
use tests::scratch::Scratch;
use tests::sys;

/// Whether this machine's kernel has rings, switched on.
fn rings_can_be_had() -> bool {
    fs::read_to_string("/sys/module/fuse/parameters/enable_uring")
        .is_ok_and(|switch| switch.trim() == "Y")
}

fn setting() -> (Scratch, Union) {
    let scratch = Scratch::new();
    let lower = Layer::new().file("f", "f").write(scratch.join("lower"));
    let union =
        Union::of(&[lower], scratch.dir("merged")).upper(scratch.dir("upper"), scratch.dir("work"));
    (scratch, union)
}

/// Mounts with `--transport`, by a program that may not make the system call `forbidden`.
fn mount_with(union: &Union, transport: &str, forbidden: Option<libc::c_long>) -> Output {
    let union = union.clone().flag(&format!("--transport={transport}"));
    let mut command = union.layerfs_command();
    if let Some(call) = forbidden {
        sys::forbid(&mut command, call);
    }
    run(&mut command)
}

/// The names of the daemon's threads.
fn threads(mount: &Mount) -> Vec<String> {
    let pid = mount.daemons()[0];
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
        .map(|name| name.trim().to_owned())
        .collect()
}

fn possible_cpus() -> usize {
    // cpu0, cpu1 and so on, present or not, have a directory each.
    fs::read_to_string("/sys/devices/system/cpu/possible")
        .unwrap()
        .trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1
        })
        .sum()
}

#[track_caller]
fn serves(point: &Path) {
    assert_eq!(fs::read_to_string(point.join("f")).unwrap(), "f");
    fs::write(point.join("g"), "g").unwrap();
    assert_eq!(fs::read_to_string(point.join("g")).unwrap(), "g");
}

#[test]
fn rings_are_taken_where_they_can_be_had_one_for_each_cpu() {
    let (_scratch, union) = setting();
    let output = mount_with(&union, "auto", None);
    assert_eq!(output.code, 0, "{output}");
    let mount = Mount::adopt(&union.point);
    serves(mount.path());
    let rings = threads(&mount)
        .into_iter()
        .filter(|name| name.starts_with("ring-"))
        .count();
    if rings_can_be_had() {
        assert_eq!(rings, possible_cpus());
        assert_eq!(output.err(), "");
    } else {
        assert_eq!(rings, 0);
        assert!(output.err().contains("serving over /dev/fuse"), "{output}");
    }
    mount.unmount();
}

#[test]
fn rings_that_are_asked_for_and_not_there_are_one_line_that_says_what_to_do() {
    let (_scratch, union) = setting();
    if rings_can_be_had() {
        let output = mount_with(&union, "rings", Some(libc::SYS_io_uring_setup));
        let line = output.one_line_error(1);
        assert!(
            line.contains("--transport rings: a ring cannot be made"),
            "{line}"
        );
        assert!(line.contains("io_uring_disabled"), "{line}");
    } else {
        let line = mount_with(&union, "rings", None).one_line_error(1);
        assert!(line.contains("echo Y >") || line.contains("6.14"), "{line}");
    }
    assert!(!is_mounted(&union.point));
}

#[test]
fn without_rings_auto_serves_over_the_device_and_says_why() {
    // Forbidden at once, and half way: when the mount is made and the kernel has agreed.
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter] {
        let (_scratch, union) = setting();
        let output = mount_with(&union, "auto", Some(call));
        assert_eq!(output.code, 0, "{output}");
        let mount = Mount::adopt(&union.point);
        assert_eq!(tests::mounts::mounts_below(mount.path()).len(), 1);
        serves(mount.path());
        let names = threads(&mount);
        assert!(
            !names.iter().any(|name| name.starts_with("ring-")),
            "{names:?}"
        );
        assert_eq!(output.err().lines().count(), 1, "{output}");
        assert!(output.err().contains("serving over /dev/fuse"), "{output}");
        mount.unmount();
    }
}

#[test]
fn rings_that_fail_half_way_leave_nothing_mounted() {
    if !rings_can_be_had() {
        return;
    }
    let (_scratch, union) = setting();
    let output = mount_with(&union, "rings", Some(libc::SYS_io_uring_enter));
    let line = output.one_line_error(1);
    assert!(line.contains("the kernel refused the rings"), "{line}");
    assert!(!is_mounted(&union.point));
    // And the upper is free again.
    let output = mount_with(&union, "device", None);
    assert_eq!(output.code, 0, "{output}");
    let mount = Mount::adopt(&union.point);
    serves(mount.path());
    mount.unmount();
}

#[test]
fn rings_that_cannot_be_pinned_serve_every_cpu() {
    let (_scratch, union) = setting();
    let output = mount_with(&union, "auto", Some(libc::SYS_sched_setaffinity));
    assert_eq!(output.code, 0, "{output}");
    let mount = Mount::adopt(&union.point);
    for cpu in 0..std::thread::available_parallelism().unwrap().get() {
        let path = mount.join(format!("from-{cpu}"));
        let script = format!("echo x > {}", path.display());
        tests::process::call("taskset", &["-c", &cpu.to_string(), "sh", "-c", &script]).ok();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    }
    mount.unmount();
}

fn stats(point: &Path, format: &str) -> Output {
    let mut command = std::process::Command::new(tests::programs::layerfs());
    run(command.args(["stats", "--format", format]).arg(point))
}

#[test]
fn stats_count_what_was_asked_on_either_transport() {
    let transports: &[&str] = match rings_can_be_had() {
        true => &["device", "rings"],
        false => &["device"],
    };
    for transport in transports {
        let (_scratch, union) = setting();
        assert_eq!(mount_with(&union, transport, None).code, 0);
        let mount = Mount::adopt(&union.point);
        let ask = || -> serde_json::Value {
            serde_json::from_str(&stats(mount.path(), "json").ok()).unwrap()
        };
        let count = |stats: &serde_json::Value, field: &str, name: &str| {
            let operations = stats["operations"].as_array().unwrap();
            let found = operations.iter().find(|one| one["name"] == name);
            found.map_or(0, |one| one[field].as_u64().unwrap())
        };
        let before = ask();
        assert_eq!(before["transport"], *transport);
        for i in 0..10 {
            fs::create_dir(mount.join(format!("d{i}"))).unwrap();
        }
        fs::create_dir(mount.join("d0")).unwrap_err();
        fs::write(mount.join("big"), vec![7; 300_000]).unwrap();
        fs::write(mount.join("f"), "changed").unwrap();
        let after = ask();
        assert_eq!(
            count(&after, "count", "mkdir") - count(&before, "count", "mkdir"),
            10
        );
        assert_eq!(
            count(&after, "errors", "mkdir"),
            0,
            "the kernel knew the eleventh"
        );
        let written = after["written_bytes"].as_u64().unwrap();
        assert_eq!(written - before["written_bytes"].as_u64().unwrap(), 300_007);
        assert_eq!(
            after["copy_ups"].as_u64().unwrap() - before["copy_ups"].as_u64().unwrap(),
            1
        );
        let times = ["p50_ns", "p90_ns", "p99_ns"].map(|field| count(&after, field, "mkdir"));
        assert!(0 < times[0] && times.is_sorted(), "{times:?}");
        let text = stats(mount.path(), "text").ok();
        assert!(
            text.starts_with(&format!("transport {transport}, ")),
            "{text}"
        );
        assert!(
            text.lines().any(|line| line.starts_with("mkdir ")),
            "{text}"
        );
        mount.unmount();
        let line = stats(&union.point, "json").one_line_error(1);
        assert!(line.contains("not a mount point"), "{line}");
    }
}

/// Whether no thread of a process is left that has not come to its end.
fn has_ended(pid: i32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    let ended = |stat: String| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
        state.is_some_and(|state| state.starts_with(['Z', 'X']))
    };
    tasks
        .flatten()
        .all(|task| fs::read_to_string(task.path().join("stat")).map_or(true, ended))
}

/// The kernel then unmounts in the dying process, whose rings still owe the answer to a readahead that
/// nobody waits for. It once waited for ever, and each sync(2) of the machine behind it.
#[test]
fn a_daemon_killed_as_the_last_of_its_mount_namespace_comes_to_its_end() {
    let (_scratch, union) = setting();
    fs::write(union.lowers[0].join("large"), vec![1; 4 << 20]).unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation=private"]);
    let mount = union.layerfs_command();
    command.arg(mount.get_program()).args(mount.get_args());
    run(&mut command).ok();
    let daemon = Mount::adopt(union.point.clone());
    let pid = daemon.daemons()[0];
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    let inside = format!("/proc/{pid}/root{}", union.point.display());
    // From the first close on the kernel knows that closing tells nobody, and does not wait for it.
    drop(fs::File::open(format!("{inside}/f")).unwrap());
    let file = fs::File::open(format!("{inside}/large")).unwrap();
    let signal = |signal| rustix::process::kill_process(process, signal).unwrap();
    signal(rustix::process::Signal::STOP);
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed).unwrap();
    drop(file);
    signal(rustix::process::Signal::KILL);
    let gone = wait_until(Duration::from_secs(120), || has_ended(pid));
    assert!(gone, "the daemon still unmounts");
}
