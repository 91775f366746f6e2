//! `pause` and `unpause`.

use std::time::Duration;

use tests::container::Runner;

#[test]
fn nothing_moves_while_it_is_paused() {
    let runner = Runner::new();
    let script = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done";
    runner.detached(&["--name", "pp"], script);
    runner.wait_for_log("pp", "5\n");
    assert_eq!(runner.ok("pause", &["pp"]), "pp");
    assert_eq!(
        runner.inspect(
            "pp",
            "{{.State.Status}} {{.State.Running}} {{.State.Paused}}"
        ),
        "paused true true"
    );
    assert!(
        runner
            .ok("ps", &["--format", "{{.Status}}"])
            .ends_with("(Paused)")
    );
    std::thread::sleep(Duration::from_millis(100));
    let before = runner.call("logs", &["pp"]).ok();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(runner.call("logs", &["pp"]).ok(), before);
    assert_eq!(runner.ok("unpause", &["pp"]), "pp");
    let next = before.lines().last().unwrap().parse::<u32>().unwrap() + 3;
    runner.wait_for_log("pp", &format!("\n{next}\n"));
}

#[test]
fn a_paused_container_can_be_ended() {
    let runner = Runner::new();
    for (verb, flags) in [("stop", &["-t", "1"][..]), ("kill", &[]), ("rm", &["-f"])] {
        let id = runner.detached(&[], "sleep 1000");
        runner.ok("pause", &[&id]);
        runner.ok(verb, &[flags, &[&id]].concat());
        if verb != "rm" {
            runner.wait_for(&id, "{{.State.Status}} {{.State.ExitCode}}", "exited 137");
        }
    }
}

#[test]
fn only_what_makes_sense_is_done() {
    let runner = Runner::new();
    runner.detached(&["--name", "pp"], "sleep 1000");
    let line = runner.call("unpause", &["pp"]).one_line_error(125);
    assert!(line.contains("is not paused"), "{line}");
    runner.ok("pause", &["pp"]);
    let line = runner.call("pause", &["pp"]).one_line_error(125);
    assert!(line.contains("is paused already"), "{line}");
    let line = runner.call("attach", &["pp"]).one_line_error(125);
    assert!(line.contains("unpause"), "{line}");
    let line = runner.call("rm", &["pp"]).one_line_error(125);
    assert!(line.contains("running"), "{line}");
    runner.ok("stop", &["-t", "0", "pp"]);
    for verb in ["pause", "unpause"] {
        runner.call(verb, &["pp"]).one_line_error(125);
    }
}
