//! `network create|ls|inspect|rm|prune`, and what containers on such networks see of each other.

use tests::container::Runner;

fn names(runner: &Runner) -> Vec<String> {
    let out = runner.ok("network", &["ls", "--format", "{{.Name}}"]);
    out.lines().map(str::to_owned).collect()
}

#[test]
fn containers_of_one_network_find_each_other_by_name() {
    let runner = Runner::new();
    let id = runner.ok("network", &["create", "--label", "tier=web", "one"]);
    assert_eq!(id.len(), 64);
    runner.ok("network", &["create", "two"]);
    let serve = "exec python3 -m http.server 8000";
    runner.detached(
        &["--network=one", "--name=db", "--network-alias=store"],
        serve,
    );
    let ask = |network: &str, name: &str| {
        let script = format!(
            "python3 -c 'import sys, time, urllib.request as r\n\
             for _ in range(600):\n\
             \x20 try: print(r.urlopen(\"http://{name}:8000/\").status); sys.exit()\n\
             \x20 except OSError as e:\n\
             \x20  if \"known\" in str(e) or \"resolution\" in str(e): sys.exit(\"unknown\")\n\
             \x20  time.sleep(0.1)'"
        );
        let flag = format!("--network={network}");
        runner.debian(&[&flag, "--dns=127.0.0.1"], &script)
    };
    assert_eq!(ask("one", "db").ok(), "200\n");
    assert_eq!(ask("one", "store").ok(), "200\n");
    let other = ask("two", "db");
    assert!(
        other.code != 0 && other.err().contains("unknown"),
        "{other}"
    );
    let told = "{{range .Containers}}{{.Name}}{{end}} {{.Labels.tier}}";
    assert_eq!(
        runner.ok("network", &["inspect", "-f", told, "one"]),
        "db web"
    );
    assert_eq!(runner.inspect("db", "{{.HostConfig.NetworkMode}}"), "one");
    let address = "{{.NetworkSettings.Networks.one.IPAddress}}";
    assert!(
        runner.inspect("db", address).starts_with("10."),
        "no address"
    );
    let line = runner.call("network", &["rm", "one"]).one_line_error(125);
    assert!(line.contains("db"), "{line}");
    runner.ok("rm", &["-f", "db"]);
    runner.ok("network", &["rm", "one", "two"]);
    assert_eq!(names(&runner), ["bridge", "host", "none"]);
}

#[test]
fn subnets_are_the_users_choice_and_never_collide() {
    let runner = Runner::new();
    // Of the range for documentation: nobody has a route to it.
    let flags = [
        "create",
        "--subnet=198.51.100.0/28",
        "--gateway=198.51.100.9",
        "doc",
    ];
    runner.ok("network", &flags);
    let out = runner.debian(
        &["--network=doc", "--ip=198.51.100.5"],
        "cat /proc/net/route; cat /etc/hosts",
    );
    // The gateway, as the kernel writes it.
    assert!(out.out().contains("096433C6"), "{out}");
    assert!(out.out().contains("198.51.100.5\t"), "{out}");
    for bad in [
        &["create", "--subnet=198.51.100.0/29", "again"][..],
        &["create", "doc"],
        &["create", "bridge"],
        &["create", "-x"],
        &["create", "--subnet=203.0.113.0/31", "small"],
        &[
            "create",
            "--subnet=203.0.113.0/24",
            "--gateway=10.1.1.1",
            "gate",
        ],
        &[
            "create",
            "--subnet=203.0.113.0/24",
            "--ip-range=10.1.1.0/28",
            "range",
        ],
        &["create", "--driver=macvlan", "mac"],
        &["create", "--subnet=127.0.0.0/24", "lo"],
        &["rm", "bridge"],
        &["rm", "nothing"],
        &["inspect", "nothing"],
    ] {
        runner.call("network", bad).one_line_error(125);
    }
    assert_eq!(names(&runner), ["bridge", "doc", "host", "none"]);
    runner.ok("network", &["rm", "-f", "doc", "nothing"]);
}

#[test]
fn an_internal_network_has_no_way_out() {
    let runner = Runner::new();
    runner.ok("network", &["create", "--internal", "in"]);
    let out = runner.debian(&["--network=in"], "cat /proc/net/route").ok();
    assert!(
        !out.lines()
            .any(|line| line.split_whitespace().nth(1) == Some("00000000")),
        "{out}"
    );
    runner.ok("network", &["rm", "in"]);
}

#[test]
fn prune_leaves_what_a_container_names() {
    let runner = Runner::new();
    for name in ["kept", "gone"] {
        runner.ok("network", &["create", name]);
    }
    let id = runner.ok("create", &["--network=kept", "host", "true"]);
    let said = runner.ok("network", &["prune", "-f"]);
    assert_eq!(said, "Deleted Networks:\ngone\n");
    assert_eq!(names(&runner), ["bridge", "host", "kept", "none"]);
    runner.ok("rm", &[&id]);
    runner.ok("network", &["prune", "-f"]);
    assert_eq!(names(&runner), ["bridge", "host", "none"]);
    let line = runner.call("run", &["--rm", "--network=gone", "host", "true"]);
    assert!(line.one_line_error(125).contains("no such network"));
}
