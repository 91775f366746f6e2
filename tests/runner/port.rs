//! `port`, and how `ps` and `inspect` tell of ports and addresses.

use tests::container::{Runner, debian};

#[test]
fn the_classic_manuals_example() {
    let runner = Runner::new();
    let image = format!("dir:{}", debian().display());
    // JOB=$(runner run -d -p 4444 IMAGE ...); runner port $JOB 4444
    let script = "exec python3 -m http.server 4444 --bind 0.0.0.0";
    let job = runner.ok(
        "run",
        &[
            "-d",
            "-p",
            "4444",
            "--expose=99",
            &image,
            "sh",
            "-c",
            script,
        ],
    );
    let sockets = runner.ok("port", &[&job, "4444"]);
    let first = sockets.lines().next().unwrap();
    let port = first
        .strip_prefix("0.0.0.0:")
        .unwrap_or_else(|| panic!("{sockets}"));
    let number: u16 = port.parse().unwrap();
    let all = runner.ok("port", &[&job]);
    assert!(
        all.lines()
            .any(|line| line == format!("4444/tcp -> 0.0.0.0:{number}")),
        "{all}"
    );
    let told = runner.ok("ps", &["--format", "{{.Ports}}"]);
    assert!(
        told.contains(&format!("0.0.0.0:{number}->4444/tcp")),
        "{told}"
    );
    assert!(told.contains("99/tcp"), "{told}");
    let template = "{{(index (index .NetworkSettings.Ports \"4444/tcp\") 0).HostPort}}";
    assert_eq!(runner.inspect(&job, template), number.to_string());
    let address = runner.inspect(&job, "{{.NetworkSettings.IPAddress}}");
    let again = runner.inspect(&job, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert!(!address.is_empty() && address == again, "{address} {again}");
    let line = runner.call("port", &[&job, "5555"]).one_line_error(125);
    assert!(line.contains("5555/tcp"), "{line}");
    runner.call("port", &[&job, "frob"]).one_line_error(125);
    runner.ok("kill", &[&job]);
    runner.wait_for(&job, "{{.State.Status}}", "exited");
    assert_eq!(runner.ok("port", &[&job]), "");
}
