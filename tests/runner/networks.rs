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

/// Interfaces with their addresses, but loopback, and the default route's interface.
const SHOW: &str = "import socket, fcntl, struct\n\
    for _, name in sorted(socket.if_nameindex())[1:]:\n\
    \x20 s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    \x20 raw = fcntl.ioctl(s, 0x8915, struct.pack('256s', name.encode()))\n\
    \x20 print(name, socket.inet_ntoa(raw[20:24]))\n\
    for line in open('/proc/net/route'):\n\
    \x20 f = line.split()\n\
    \x20 if f[1] == '00000000': print('out', f[0])";

fn shown(runner: &Runner, container: &str) -> String {
    runner.ok("exec", &[container, "python3", "-c", SHOW])
}

#[test]
fn a_container_joins_and_leaves_networks_while_it_runs() {
    let runner = Runner::new();
    runner.ok("network", &["create", "--subnet=198.51.100.32/28", "one"]);
    runner.ok("network", &["create", "--subnet=198.51.100.48/28", "two"]);
    let fixed = ["--network=one", "--ip=198.51.100.34", "--name=app"];
    runner.detached(&fixed, "sleep 1000");
    runner.detached(&["--network=two", "--name=other"], "sleep 1000");
    let before = shown(&runner, "app");
    assert_eq!(before, "eth0 198.51.100.34\nout eth0");
    let flags = [
        "connect",
        "--alias=store",
        "--ip=198.51.100.60",
        "two",
        "app",
    ];
    runner.ok("network", &flags);
    let both = "eth0 198.51.100.34\neth1 198.51.100.60\nout eth0";
    assert_eq!(shown(&runner, "app"), both);
    // Both ways: the newcomer is known by all of its names, and knows who was there.
    for (who, name) in [("other", "store"), ("other", "app"), ("app", "other")] {
        runner.ok("exec", &[who, "getent", "hosts", name]);
    }
    let address = "{{.NetworkSettings.Networks.two.IPAddress}}";
    assert_eq!(runner.inspect("app", address), "198.51.100.60");
    for bad in [
        &["connect", "two", "app"][..],
        &["connect", "nothing", "app"],
        &["connect", "two", "nobody"],
        &["connect", "--ip=10.9.9.9", "bridge", "app"],
        &["disconnect", "bridge", "app"],
    ] {
        runner.call("network", bad).one_line_error(125);
    }
    // A start anew keeps it; what led out is left, so the other one does.
    runner.ok("restart", &["-t0", "app"]);
    assert_eq!(shown(&runner, "app"), both);
    runner.ok("network", &["disconnect", "one", "app"]);
    assert_eq!(shown(&runner, "app"), "eth1 198.51.100.60\nout eth1");
    let hosts = runner.ok("exec", &["app", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("198.51.100.34"), "{hosts}");
    runner.ok("network", &["rm", "one"]);
    runner.ok("network", &["disconnect", "two", "app"]);
    assert_eq!(shown(&runner, "app"), "");
    let known = runner.call("exec", &["other", "getent", "hosts", "store"]);
    assert_eq!(known.code, 2, "{known}");
    runner.ok("network", &["disconnect", "--force", "two", "app"]);
    // On none, it starts, too, and may come back; one that does not run joins at its start.
    runner.ok("restart", &["-t0", "app"]);
    assert_eq!(shown(&runner, "app"), "");
    runner.ok("network", &["connect", "two", "app"]);
    assert!(shown(&runner, "app").ends_with("out eth0"));
    runner.ok("stop", &["-t0", "app"]);
    runner.ok("network", &["disconnect", "two", "app"]);
    runner.ok("network", &["connect", "--ip=198.51.100.61", "two", "app"]);
    runner.ok("start", &["app"]);
    assert_eq!(shown(&runner, "app"), "eth0 198.51.100.61\nout eth0");
    runner.ok("rm", &["-f", "app", "other"]);
    let none = runner.ok("create", &["--network=none", "host", "true"]);
    let line = runner.call("network", &["connect", "two", &none]);
    assert!(line.one_line_error(125).contains("none"));
}

#[test]
fn published_ports_move_to_the_network_that_is_left() {
    let runner = Runner::new();
    for name in ["one", "two"] {
        runner.ok("network", &["create", name]);
    }
    let serve = "exec python3 -m http.server 8000";
    let flags = ["--network=one", "--network=two", "--name=web", "-p", "8000"];
    runner.detached(&flags, serve);
    let port = runner.ok("port", &["web", "8000"]);
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap();
    let answers = || {
        let came = tests::process::wait_until(std::time::Duration::from_secs(30), || {
            let stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}"));
            stream.is_ok_and(|mut stream| {
                use std::io::{Read, Write};
                let mut text = String::new();
                let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
                asked.is_ok() && stream.read_to_string(&mut text).is_ok() && text.contains("200")
            })
        });
        assert!(came, "nobody answers at port {port}");
    };
    answers();
    runner.ok("network", &["disconnect", "one", "web"]);
    answers();
    let told = runner.ok("port", &["web", "8000"]);
    assert!(told.contains(&format!(":{port}")), "{told}");
    runner.ok("network", &["disconnect", "two", "web"]);
    assert_eq!(runner.ok("port", &["web"]), "");
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}"));
    assert!(taken.is_ok(), "the port is still held");
}

#[test]
fn several_networks_at_the_start_each_with_its_own_names() {
    let runner = Runner::new();
    runner.ok("network", &["create", "--subnet=198.51.100.64/28", "one"]);
    runner.ok("network", &["create", "--subnet=198.51.100.80/28", "two"]);
    let both = [
        // Not in the order that they were made in: the first leads out.
        "--network=name=two,ip=198.51.100.90,alias=store,alias=db",
        "--network=name=one,alias=web,mac-address=02:42:00:00:00:07",
        "--name=app",
    ];
    runner.detached(&both, "sleep 1000");
    assert_eq!(
        shown(&runner, "app"),
        "eth0 198.51.100.90\neth1 198.51.100.66\nout eth0"
    );
    let mac = "{{.NetworkSettings.Networks.one.MacAddress}}";
    assert_eq!(runner.inspect("app", mac), "02:42:00:00:00:07");
    let known = |network: &str, name: &str| {
        let flag = format!("--network={network}");
        runner.debian(&[&flag, "--dns=127.0.0.1"], &format!("getent hosts {name}"))
    };
    for (network, name, code) in [
        ("two", "store", 0),
        ("two", "db", 0),
        ("one", "web", 0),
        ("one", "store", 2),
        ("two", "web", 2),
    ] {
        let out = known(network, name);
        assert_eq!(out.code, code, "{name} on {network}: {out}");
    }
    for bad in [
        &["--network=alias=x"][..],
        &["--network=name=one,gw=1"],
        &["--network=name=one,alias=x", "--network-alias=y"],
        &["--network=one", "--network=name=one,alias=x"],
        &["--network-alias=a b"],
        &["--network=name=host,alias=x"],
    ] {
        let out = runner.run(&[bad, &["host", "true"]].concat());
        out.one_line_error(125);
    }
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
