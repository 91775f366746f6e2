//! `update`: other limits, in force at once, and kept.

use tests::container::Runner;

#[test]
fn limits_of_a_container_that_runs() {
    let runner = Runner::new();
    let id = runner.detached(&["--network=none", "-m", "64m"], "sleep 1000");
    let limit = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; true";
    let in_force = || runner.ok("exec", &[&id, "sh", "-c", limit]);
    assert_eq!(in_force(), "67108864");
    // Up, and down again: memory and memory with swap change in different orders.
    runner.ok("update", &["-m", "128m", "--memory-swap", "256m", &id]);
    assert_eq!(in_force(), "134217728");
    runner.ok(
        "update",
        &["-m", "32m", "--memory-swap", "32m", "--pids-limit=50", &id],
    );
    assert_eq!(in_force(), "33554432");
    let told = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}}";
    assert_eq!(runner.inspect(&id, told), "33554432 33554432 50");
    // Refused as a whole.
    runner
        .call("update", &["-m", "1m", &id])
        .one_line_error(125);
    runner
        .call("update", &["-m", "64m", &id])
        .one_line_error(125);
    assert_eq!(in_force(), "33554432");
    assert_eq!(runner.inspect(&id, told), "33554432 33554432 50");
}

#[test]
fn those_of_one_that_does_not_are_kept_for_its_next_life() {
    let runner = Runner::new();
    let script = "cd /sys/fs/cgroup; cat pids/pids.max pids.max 2>/dev/null; true";
    let id = runner.detached(&["--network=none"], script);
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    assert_eq!(
        runner.ok(
            "update",
            &["--pids-limit=77", "--restart=on-failure:2", &id]
        ),
        id
    );
    assert_eq!(
        runner.inspect(&id, "{{.HostConfig.RestartPolicy.Name}}"),
        "on-failure"
    );
    assert_eq!(runner.ok("start", &["-a", &id]), "77");
    runner
        .call("update", &["--restart=frob", &id])
        .one_line_error(125);
    runner
        .call("update", &["--cpus=1000", &id])
        .one_line_error(125);
    runner
        .call("update", &["-m", "64m", "nobody"])
        .one_line_error(125);
}
