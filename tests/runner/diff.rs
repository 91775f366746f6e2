//! `diff`: what a container has changed.

use tests::container::Runner;

#[test]
fn added_changed_and_deleted() {
    let runner = Runner::new();
    let script = "mkdir -p /srv/new/sub; echo x >/srv/new/sub/f; echo >>/etc/passwd; rm /etc/issue; \
         mv /etc/debian_version /etc/moved; rm -r /usr/share/doc; chmod 700 /home";
    let id = runner.detached(&["--network=none"], script);
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    let told = runner.ok("diff", &[&id]);
    let told: Vec<_> = told.lines().collect();
    let wanted = [
        "C /etc",
        "D /etc/debian_version",
        "D /etc/issue",
        "A /etc/moved",
        "C /etc/passwd",
        "C /home",
        "C /srv",
        "A /srv/new",
        "A /srv/new/sub",
        "A /srv/new/sub/f",
        "C /usr",
        "C /usr/share",
        "D /usr/share/doc",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn nothing_changed_is_nothing_told_also_while_it_runs() {
    let runner = Runner::new();
    let id = runner.detached(&["--network=none"], "echo there; sleep 1000");
    runner.wait_for_log(&id, "there");
    assert_eq!(runner.ok("diff", &[&id]), "");
    runner.ok("exec", &[&id, "touch", "/here"]);
    assert_eq!(runner.ok("diff", &[&id]), "A /here");
    runner.call("diff", &["nobody"]).one_line_error(125);
}
