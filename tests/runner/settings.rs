//! `run`: environment, user, directory, host name, entry point, classic spelling.

use std::fs;

use tests::container::Runner;

#[test]
fn environment_comes_from_flags_and_files_only() {
    let runner = Runner::new();
    let file = runner.scratch.join("env");
    fs::write(
        &file,
        "# comment\nFROM_FILE=file\nBOTH=file\n\nEMPTY=\nSPACES=a b  c\nPASSED\n",
    )
    .unwrap();
    let mut command = runner.command("run");
    command
        .env("PASSED", "passed")
        .env("ALSO", "also")
        .env("SECRET", "leaked");
    command.args(["--rm", "--env-file", file.to_str().unwrap()]);
    command.args([
        "-e",
        "BOTH=flag",
        "--env",
        "ALSO",
        "-e",
        "NOT_SET",
        "-e",
        "A=b=c",
        "host",
        "env",
    ]);
    let mut lines: Vec<_> = tests::process::run(&mut command)
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    let has = |line: &str| lines.iter().any(|l| l == line);
    for line in [
        "FROM_FILE=file",
        "BOTH=flag",
        "EMPTY=",
        "SPACES=a b  c",
        "PASSED=passed",
        "ALSO=also",
        "A=b=c",
    ] {
        assert!(has(line), "{line} missing: {lines:?}");
    }
    assert!(
        !lines
            .iter()
            .any(|l| l.starts_with("SECRET") || l.starts_with("NOT_SET")),
        "{lines:?}"
    );
    let usual = ["PATH=", "HOME=/root", "HOSTNAME="];
    for start in usual {
        assert!(
            lines.iter().any(|l| l.starts_with(start)),
            "{start} missing: {lines:?}"
        );
    }
    assert_eq!(lines.iter().filter(|l| l.starts_with("BOTH=")).count(), 1);
}

#[test]
fn user_and_group_by_name_and_number() {
    let runner = Runner::new();
    let id = |user: &str| {
        runner
            .debian(&["-u", user], "id -u; id -g; id -G; echo $HOME")
            .ok()
    };
    let nobody = "65534\n65534\n65534\n";
    assert!(id("nobody").starts_with(nobody), "{}", id("nobody"));
    assert!(id("65534").starts_with(nobody), "{}", id("65534"));
    assert_eq!(id("1234:77"), "1234\n77\n77\n/\n");
    assert!(id("nobody:daemon").starts_with("65534\n1\n"));
    assert!(id("daemon").ends_with("/usr/sbin\n"));
    assert!(id("0").ends_with("/root\n"));
    for user in ["no-such-user", "nobody:no-such-group", "", ":"] {
        let output = runner.debian(&["-u", user], "id");
        if output.code == 0 && user.len() < 2 {
            continue; // docker takes an empty user as none given
        }
        let line = output.one_line_error(125);
        assert!(line.contains("user") || line.contains("group"), "{line}");
    }
}

#[test]
fn another_user_has_no_capability() {
    let runner = Runner::new();
    let status = runner
        .sh(&["-u", "1234"], "grep ^Cap /proc/self/status")
        .ok();
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
}

#[test]
fn working_directory_is_entered_and_made() {
    let runner = Runner::new();
    assert_eq!(runner.sh(&["-w", "/usr/lib"], "pwd").ok(), "/usr/lib\n");
    assert_eq!(
        runner.sh(&["--workdir", "/made/for/me"], "pwd; ls -A").ok(),
        "/made/for/me\n"
    );
    assert_eq!(runner.sh(&[], "pwd").ok(), "/\n");
    let line = runner.sh(&["-w", "/etc/passwd"], "pwd").one_line_error(125);
    assert!(line.contains("/etc/passwd"), "{line}");
    let output = runner.sh(&["-w", "relative"], "pwd");
    assert!(output.code == 125, "{output}");
}

#[test]
fn host_name_and_the_files_of_the_network() {
    let runner = Runner::new();
    let script = "hostname; cat /etc/hostname; grep -c box /etc/hosts; getent hosts box | wc -l";
    assert_eq!(
        runner
            .sh(&["--network", "none", "--hostname", "box"], script)
            .ok(),
        "box\nbox\n1\n1\n"
    );
    let own = runner.sh(&[], "hostname").ok();
    let own = own.trim();
    assert!(
        own.len() == 12 && own.bytes().all(|b| b.is_ascii_hexdigit()),
        "{own}"
    );
    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    assert_ne!(host.trim(), own);
    runner.sh(&[], "test -s /etc/resolv.conf").ok();
    let files = || ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"].map(|f| fs::read(f).ok());
    let before = files();
    runner
        .sh(
            &[],
            "for f in hosts resolv.conf hostname; do echo x > /etc/$f; done",
        )
        .ok();
    assert_eq!(files(), before, "the host's own files were written");
}

#[test]
fn an_entry_point_gets_the_arguments() {
    let runner = Runner::new();
    assert_eq!(
        runner
            .run(&["--entrypoint", "echo", "host", "a", "b c"])
            .ok(),
        "a b c\n"
    );
    assert_eq!(
        runner.run(&["--entrypoint", "/bin/pwd", "host"]).ok(),
        "/\n"
    );
}

#[test]
fn classic_spelling_with_one_dash() {
    let runner = Runner::new();
    let classic = |args: &[&str]| tests::process::run(runner.command("run").args(args)).ok();
    let out = classic(&[
        "-rm",
        "-name",
        "old",
        "-e",
        "A=b",
        "-hostname=box",
        "-w=/usr",
        "host",
        "sh",
        "-c",
        "hostname; pwd; echo $A",
    ]);
    assert_eq!(out, "box\n/usr\nb\n");
    assert_eq!(
        classic(&["-rm=true", "-m=64m", "host", "echo", "-rm", "-name"]),
        "-rm -name\n"
    );
}

#[test]
fn arguments_arrive_as_they_were_given() {
    let runner = Runner::new();
    let args = [
        "a b", "", "'", "\"", "$HOME", "*", "-x", "--rm", "\n", "é", "\\",
    ];
    let mut command = vec!["host", "printf", "<%s>"];
    command.extend(args);
    let wanted: String = args.iter().map(|a| format!("<{a}>")).collect();
    assert_eq!(runner.run(&command).ok(), wanted);
}

#[test]
fn a_name_belongs_to_one_container_at_a_time() {
    let runner = Runner::new();
    for _ in 0..2 {
        assert_eq!(runner.sh(&["--name", "web-1"], "echo ok").ok(), "ok\n");
    }
    for name in ["-x", "a b", "a/b", "", "ü", ".."] {
        let output = runner.run(&[&format!("--name={name}"), "host", "true"]);
        assert_eq!(output.code, 125, "{name:?}: {output}");
        output.one_line_error(125);
    }
}

#[test]
fn network_none_has_loopback_only_and_host_is_the_hosts() {
    let runner = Runner::new();
    let names = "ls /sys/class/net | tr '\\n' ' '; cat /sys/class/net/lo/operstate";
    let none = runner.sh(&["--network", "none"], names).ok();
    assert!(none.starts_with("lo "), "{none}");
    runner
        .debian(
            &["--network", "none"],
            "python3 -c \"
import socket
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
c = socket.create_connection(s.getsockname()); c.close()\"",
        )
        .ok();
    let host = runner
        .sh(&["--network", "host"], "readlink /proc/self/ns/net")
        .ok();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(host.trim(), own.to_str().unwrap());
    let none = runner
        .sh(&["--network", "none"], "readlink /proc/self/ns/net")
        .ok();
    assert_ne!(none.trim(), own.to_str().unwrap());
}

#[test]
fn help_has_examples() {
    let runner = Runner::new();
    let help = runner.call("run", &["--help"]).ok();
    for wanted in [
        "Examples",
        "--memory-swap",
        "--volume",
        "runner run --rm host",
    ] {
        assert!(help.contains(wanted), "{wanted} is not in the help");
    }
}
