//! `container prune`: what has ended goes, what runs stays.

use tests::container::Runner;
use tests::process;

#[test]
fn containers_that_have_ended_go() {
    let runner = Runner::new();
    let ended = runner.detached(&["--network=none"], "true");
    let running = runner.detached(&["--network=none"], "sleep 1000");
    let made = runner.ok("create", &["--network=none", "host", "true"]);
    runner.wait_for(&ended, "{{.State.Status}}", "exited");
    // Nobody says yes.
    let asked = process::run(runner.command("container").arg("prune"));
    assert!(asked.code == 0 && asked.err().contains("[y/N]"), "{asked}");
    assert_eq!(runner.containers().len(), 3);
    let said = runner.ok("container", &["prune", "-f"]);
    for id in [&ended, &made] {
        assert!(said.lines().any(|line| line == *id), "{said}");
    }
    assert!(said.contains("Total reclaimed space: "), "{said}");
    assert_eq!(runner.containers(), [running]);
    let said = runner.ok("container", &["prune", "-f"]);
    assert!(said.starts_with("Total reclaimed space: 0B"), "{said}");
}
