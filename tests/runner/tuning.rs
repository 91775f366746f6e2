//! The rarer limits: what the container sees of them, by the kernel's own files.

use tests::container::Runner;

const ALONE: &str = "--network=none";

#[test]
fn resource_limits_of_processes_also_of_those_that_join() {
    let runner = Runner::new();
    let flags = [
        ALONE,
        "--ulimit=nofile=1000:2000",
        "--ulimit=core=0",
        "--ulimit",
        "nproc=500",
    ];
    let id = runner.detached(&flags, "ulimit -Sn; ulimit -Hn; ulimit -c; exec sleep 1000");
    runner.wait_for_log(&id, "1000\n2000\n0\n");
    let script = "ulimit -Sn; ulimit -Hn; ulimit -u";
    assert_eq!(
        runner.ok("exec", &[&id, "bash", "-c", script]),
        "1000\n2000\n500"
    );
    for bad in ["nofile", "frob=1", "nofile=2:1"] {
        runner.sh(&["--ulimit", bad], "true").one_line_error(125);
    }
}

#[test]
fn settings_of_its_own_namespaces_and_of_no_others() {
    let runner = Runner::new();
    let script =
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max";
    let flags = [
        ALONE,
        "--sysctl=net.ipv4.ip_forward=1",
        "--sysctl=kernel.shmmni=99",
        "--sysctl",
        "fs.mqueue.msg_max=7",
    ];
    let own = std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    assert_eq!(runner.sh(&flags, script).ok(), "1\n99\n7\n");
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(),
        own
    );
    for bad in [
        &["--sysctl=kernel.panic=1"][..],
        &["--sysctl=vm.swappiness=1"],
        &["--sysctl=net.ipv4.ip_forward"],
        &["--sysctl=net.ipv4.ip_forward=1", "--network=host"],
        &["--sysctl=net.../../kernel.panic=1"],
    ] {
        runner.sh(bad, "true").one_line_error(125);
    }
    // One that the kernel does not have.
    let line = runner
        .sh(&[ALONE, "--sysctl=net.frob=1"], "true")
        .one_line_error(125);
    assert!(line.contains("/proc/sys/net/frob"), "{line}");
}

#[test]
fn shared_memory_groups_and_the_oom_killers_order() {
    let runner = Runner::new();
    let flags = [
        ALONE,
        "--shm-size=128k",
        "--oom-score-adj=500",
        "--group-add=audio",
        "--group-add=4242",
    ];
    let script = "df -k --output=size /dev/shm | tail -1; cat /proc/self/oom_score_adj; id -G";
    let out = runner.debian(&flags, script).ok();
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(words, ["128", "500", "0", "29", "4242"]);
    runner
        .sh(&["--group-add=nobody-there"], "true")
        .one_line_error(125);
    runner
        .sh(&["--oom-score-adj=1001"], "true")
        .one_line_error(125);
    runner.sh(&["--shm-size=lots"], "true").one_line_error(125);
}

#[test]
fn weights_and_quotas_are_in_force_where_the_machine_has_them() {
    let runner = Runner::new();
    let flags = [
        ALONE,
        "--memory=64m",
        "--memory-reservation=32m",
        "--cpu-shares=512",
        "--cpu-period=50000",
        "--cpu-quota=25000",
    ];
    // The container's own groups, of v1 or v2; what is missing was a warning.
    let script = "cd /sys/fs/cgroup; cat memory/memory.soft_limit_in_bytes memory.low \
         cpu/cpu.shares cpu.weight cpu/cpu.cfs_quota_us cpu.max 2>/dev/null; true";
    let output = runner.debian(&flags, script);
    assert_eq!(output.code, 0, "{output}");
    let told = output.out();
    let words: Vec<_> = told.split_whitespace().collect();
    let has = |v1: &[&str], v2: &[&str]| words.ends_with(v1) || words.ends_with(v2);
    let warned = output.err().contains("WARNING");
    assert!(
        warned || has(&["512", "25000"], &["25000", "50000"]),
        "{output}"
    );
    let inspect = runner.ok("create", &[&flags[..], &["host", "true"]].concat());
    let template =
        "{{.HostConfig.MemoryReservation}} {{.HostConfig.CpuShares}} {{.HostConfig.CpuQuota}}";
    assert_eq!(runner.inspect(&inspect, template), "33554432 512 25000");
    for bad in [
        &["--cpu-shares=1"][..],
        &["--blkio-weight=5"],
        &["--memory=64m", "--memory-reservation=128m"],
        &["--memory-swappiness=101"],
        &["--cpus=1", "--cpu-quota=5000"],
        &["--device-read-bps=/dev/null:1m"],
        &["--device-write-iops=/not/there:7"],
        &["--cpuset-mems=x"],
    ] {
        runner.sh(bad, "true").one_line_error(125);
    }
}

#[test]
fn devices_that_are_asked_for_and_no_others() {
    let runner = Runner::new();
    let fuse = "head -c0 /dev/fuse && echo open";
    let with = runner.debian(&[ALONE, "--device=/dev/fuse"], fuse);
    assert_eq!(with.ok(), "open\n");
    assert_ne!(runner.debian(&[ALONE], fuse).code, 0);
    // Another name, and only for reading.
    let script = "test -r /dev/mine && head -c1 /dev/mine | wc -c; : >/dev/mine";
    let out = runner.debian(&[ALONE, "--device=/dev/kmsg:/dev/mine:r"], script);
    assert!(out.code != 0, "it was written to: {out}");
    // One with a directory of its own, and as root of the container makes it by hand.
    let mknod = "mknod /dev/again c 10 229 && head -c0 /dev/again && echo open";
    let out = runner.debian(&[ALONE], mknod);
    assert!(!out.out().contains("open"), "{out}");
    for bad in [
        "/not/there",
        "/etc/passwd",
        "/dev/fuse:/etc/fuse",
        "/dev/fuse:/dev/../x",
        "/dev/fuse:/dev/x:q",
    ] {
        runner.sh(&["--device", bad], "true").one_line_error(125);
    }
}
