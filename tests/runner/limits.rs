//! `run`: memory, swap, processor and process limits, as docker means them.

use tests::container::Runner;

/// Takes `mib` MiB and touches every page, then says so.
fn hog(mib: usize) -> String {
    format!("python3 -c \"b = bytearray({mib} << 20); print(len(b))\"")
}

#[test]
fn a_command_over_its_memory_limit_is_killed_and_told_why() {
    let runner = Runner::new();
    let output = runner.debian(
        &["-m", "64m", "--memory-swap", "64m"],
        &format!("exec {}", hog(200)),
    );
    assert_eq!(output.code, 137, "{output}");
    let err = output.err();
    assert_eq!(err.lines().count(), 1, "{output}");
    assert!(
        err.contains("memory") && err.contains("64"),
        "does not say why: {err}"
    );
}

#[test]
fn a_command_within_its_limit_lives() {
    let runner = Runner::new();
    let output = runner.debian(&["-m", "128m", "--memory-swap", "128m"], &hog(40));
    assert_eq!(output.ok(), format!("{}\n", 40 << 20));
    assert_eq!(output.err(), "");
}

#[test]
fn a_child_killed_for_memory_does_not_end_the_container_but_is_told() {
    let runner = Runner::new();
    let script = format!("{}; echo code=$?", hog(200));
    let output = runner.debian(&["-m", "64m", "--memory-swap", "64m"], &script);
    assert_eq!(output.ok(), "code=137\n");
}

/// What the kernel says of the container's own group, from inside.
fn group(flags: &[&str], v1: &str, v2: &str) -> String {
    let runner = Runner::new();
    // Inside its cgroup name space the container's group is the root of each hierarchy.
    let script = format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}");
    runner.sh(flags, &script).ok().trim().to_owned()
}

#[test]
fn limits_arrive_in_the_kernel() {
    assert_eq!(
        group(&["-m", "64m"], "memory/memory.limit_in_bytes", "memory.max"),
        "67108864"
    );
    assert_eq!(
        group(&["--pids-limit", "77"], "pids/pids.max", "pids.max"),
        "77"
    );
    assert_eq!(
        group(&[], "pids/pids.max", "pids.max"),
        "2048",
        "the default"
    );
    assert_eq!(
        group(&["--pids-limit", "-1"], "pids/pids.max", "pids.max"),
        "max"
    );
    assert_eq!(
        group(&["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "cpuset.cpus"),
        "0"
    );
    let quota = group(&["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(
        quota == "50000" || quota.starts_with("50000 100000"),
        "{quota}"
    );
}

#[test]
fn memory_swap_is_memory_and_swap_together() {
    if !std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() {
        // Without swap accounting (or on v2) the figures differ; what must hold is the rule.
        let runner = Runner::new();
        let output = runner.sh(&["-m", "64m", "--memory-swap", "128m"], "true");
        assert_eq!(output.code, 0, "{output}");
        let err = output.err();
        assert!(
            err.is_empty() || err.contains("WARNING: No swap limit support"),
            "{err}"
        );
        return;
    }
    let memsw = |flags: &[&str]| {
        group(
            flags,
            "memory/memory.memsw.limit_in_bytes",
            "memory.swap.max",
        )
    };
    assert_eq!(memsw(&["-m", "64m", "--memory-swap", "128m"]), "134217728");
    assert_eq!(memsw(&["-m", "64m", "--memory-swap", "64m"]), "67108864");
    assert_eq!(
        memsw(&["-m", "64m"]),
        "134217728",
        "twice the memory if not given"
    );
    let unlimited: u64 = memsw(&["-m", "64m", "--memory-swap", "-1"])
        .parse()
        .unwrap();
    assert!(unlimited > 1 << 60);
}

#[test]
fn sizes_are_read_as_docker_reads_them() {
    for (text, bytes) in [
        ("67108864", 64 << 20),
        ("65536k", 64 << 20),
        ("64M", 64 << 20),
        ("1g", 1 << 30),
        ("64mb", 64 << 20),
    ] {
        let limit = group(&["-m", text], "memory/memory.limit_in_bytes", "memory.max");
        assert_eq!(limit, format!("{bytes}"), "{text}");
    }
}

#[test]
fn bad_limits_are_refused() {
    let runner = Runner::new();
    for flags in [
        &["-m", "1m"][..],
        &["-m", "5m"],
        &["-m", "many"],
        &["-m", "-1"],
        &["-m", "64x"],
        &["-m", ""],
        &["-m", "64m", "--memory-swap", "32m"],
        &["--memory-swap", "64m"],
        &["--cpus", "-1"],
        &["--cpus", "many"],
        &["--cpus", "100000"],
        &["--cpuset-cpus", "4000"],
        &["--cpuset-cpus", "x"],
        &["--cpuset-cpus", "1-"],
        &["--pids-limit", "some"],
    ] {
        let output = runner.sh(flags, "true");
        assert_eq!(output.code, 125, "{flags:?}: {output}");
        output.one_line_error(125);
        runner.nothing_left();
    }
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    let runner = Runner::new();
    let script = "for i in $(seq 50); do sleep 5 & done 2>/dev/null; echo unreachable";
    let output = runner.sh(&["--pids-limit", "20"], script);
    assert_ne!(output.code, 0, "{output}");
    assert!(!output.out().contains("unreachable"), "{output}");
}

#[test]
fn cpuset_binds_the_command() {
    let runner = Runner::new();
    let out = runner
        .sh(
            &["--cpuset-cpus", "1"],
            "grep Cpus_allowed_list /proc/self/status",
        )
        .ok();
    assert!(out.trim().ends_with("\t1"), "{out}");
}
