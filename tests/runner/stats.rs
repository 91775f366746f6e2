//! `stats`: what containers use, against what the kernel tells.

use tests::container::Runner;

#[test]
fn memory_processes_and_processor_time_are_told() {
    let runner = Runner::new();
    let flags = ["--network=none", "--memory=64m", "--name=busy"];
    runner.detached(&flags, "sleep 1000 & sleep 1000 & while :; do :; done");
    let idle = runner.detached(&["--network=none", "--name=idle"], "exec sleep 1000");
    let field = |name: &str, field: &str| {
        let template = format!("{{{{.{field}}}}}");
        runner.ok("stats", &["--no-stream", "--format", &template, name])
    };
    assert_eq!(field("busy", "PIDs"), "3");
    assert_eq!(field("idle", "PIDs"), "1");
    let memory = field("busy", "MemUsage");
    assert!(
        memory.ends_with(" / 64MiB") && !memory.starts_with("0B"),
        "{memory}"
    );
    let share: f64 = field("busy", "CPUPerc")
        .trim_end_matches('%')
        .parse()
        .unwrap();
    assert!(share > 0.0, "{share}");
    let table = runner.ok("stats", &["--no-stream"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("CONTAINER ID   NAME"), "{table}");
    runner.ok("kill", &[&idle]);
    runner.wait_for("idle", "{{.State.Status}}", "exited");
    let names = |args: &[&str]| {
        let args = [&["--no-stream", "--format", "{{.Name}}"], args].concat();
        runner.ok("stats", &args)
    };
    assert_eq!(names(&[]), "busy");
    assert_eq!(names(&["-a"]), "busy\nidle");
    runner
        .call("stats", &["--no-stream", "nobody"])
        .one_line_error(125);
}
