//! Health checks: what `ps`, `inspect` and `events` tell of them.

use tests::container::Runner;

const ALONE: &str = "--network=none";

#[test]
fn a_container_becomes_healthy_unhealthy_and_healthy_again() {
    let runner = Runner::new();
    let flags = [
        ALONE,
        "--name=web",
        "--health-cmd=echo asked; test -e /well",
        "--health-interval=20ms",
        "--health-retries=2",
    ];
    runner.detached(&flags, "sleep 1000");
    let status = "{{.State.Health.Status}}";
    runner.wait_for("web", status, "unhealthy");
    runner.ok("exec", &["web", "touch", "/well"]);
    runner.wait_for("web", status, "healthy");
    let told = runner.ok("ps", &["--format", "{{.Status}}"]);
    assert!(told.ends_with("(healthy)"), "{told}");
    let ids = |health: &str| runner.ok("ps", &["-q", "--filter", &format!("health={health}")]);
    assert!(!ids("healthy").is_empty() && ids("unhealthy").is_empty() && ids("none").is_empty());
    let last = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}";
    assert!(
        runner.inspect("web", last).ends_with("0 asked\n"),
        "{}",
        runner.inspect("web", last)
    );
    runner.ok("exec", &["web", "rm", "/well"]);
    runner.wait_for("web", status, "unhealthy");
    let args = [
        "--since=1h",
        "--until=0s",
        "-f",
        "event=health_status",
        "--format={{.Action}}",
    ];
    let events = runner.ok("events", &args);
    let wanted = ["unhealthy", "healthy", "unhealthy"].map(|s| format!("health_status: {s}"));
    assert_eq!(events.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn one_that_hangs_or_talks_without_end_is_a_failure_and_holds_nothing_up() {
    let runner = Runner::new();
    for command in ["sleep 1000", "yes"] {
        let flags = [
            ALONE,
            &format!("--health-cmd={command}"),
            "--health-interval=20ms",
            "--health-timeout=100ms",
            "--health-retries=1",
        ];
        let id = runner.detached(&flags, "sleep 1000");
        runner.wait_for(&id, "{{.State.Health.Status}}", "unhealthy");
        let told = runner.inspect(
            &id,
            "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}\n{{end}}",
        );
        assert!(told.contains("-1 Health check exceeded timeout"), "{told}");
        assert_eq!(runner.ok("exec", &[&id, "echo", "here"]), "here");
        runner.ok("kill", &[&id]);
        runner.wait_for(&id, "{{.State.Status}}", "exited");
    }
}

#[test]
fn failures_at_the_start_do_not_count_and_nonsense_is_refused() {
    let runner = Runner::new();
    let flags = [
        ALONE,
        "--health-cmd=false",
        "--health-interval=10ms",
        "--health-start-period=1h",
        "--health-retries=1",
    ];
    let id = runner.detached(&flags, "sleep 1000");
    runner.wait_for(&id, "{{len .State.Health.Log}}", "5");
    assert_eq!(runner.inspect(&id, "{{.State.Health.Status}}"), "starting");
    for bad in [
        &["--health-interval=1s"][..],
        &["--health-cmd=true", "--health-interval=frob"],
        &["--health-cmd=true", "--health-retries=0"],
        &["--health-cmd=true", "--health-timeout=0s"],
        &["--health-cmd=true", "--no-healthcheck"],
    ] {
        runner.sh(bad, "true").one_line_error(125);
    }
}
