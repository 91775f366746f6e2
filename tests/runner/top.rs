//! `top`: the processes of a container.

use tests::container::Runner;

#[test]
fn the_processes_of_this_container_and_no_others() {
    let runner = Runner::new();
    let flags = ["--network=none", "--name=one"];
    runner.detached(&flags, "sleep 4321 & exec sleep 8765");
    let other = runner.detached(&["--network=none"], "sleep 1357");
    runner.wait_for(&other, "{{.State.Status}}", "running");
    let pid = runner.inspect("one", "{{.State.Pid}}");
    let lines = runner.ok("top", &["one", "-o", "pid,args"]);
    let rows: Vec<_> = lines.lines().skip(1).map(str::trim).collect();
    assert_eq!(rows.len(), 2, "{lines}");
    assert!(rows.contains(&&*format!("{pid} sleep 8765")), "{lines}");
    assert!(
        lines.contains("sleep 4321") && !lines.contains("1357"),
        "{lines}"
    );
    let usual = runner.ok("top", &["one"]);
    assert!(
        usual.starts_with("UID") && usual.lines().count() == 3,
        "{usual}"
    );
}

#[test]
fn what_cannot_be_shown_is_one_line() {
    let runner = Runner::new();
    let id = runner.detached(&["--network=none"], "sleep 1000");
    runner.call("top", &[&id, "-o", "args"]).one_line_error(125);
    runner
        .call("top", &[&id, "-o", "nonsense"])
        .one_line_error(125);
    runner.call("top", &["nobody"]).one_line_error(125);
    runner.ok("kill", &[&id]);
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    let line = runner.call("top", &[&id]).one_line_error(125);
    assert!(line.contains("is not running"), "{line}");
}
