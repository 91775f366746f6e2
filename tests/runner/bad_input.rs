//! Bad input to `runner`: one line, exit code 125, nothing half done.

use tests::container::Runner;
use tests::process::{NO_FUSE, run};

#[test]
fn images_that_are_not_there() {
    let runner = Runner::new();
    for image in [
        "no-such-image",
        "no-such:tag",
        "dir:/no/such/dir",
        "dir:/etc/passwd",
        "dir:",
        "UPPER",
        "a b",
        "../x",
        "",
    ] {
        let output = runner.run(&["--pull", "never", image, "true"]);
        let line = output.one_line_error(125);
        assert!(line.starts_with("runner: "), "{line}");
        runner.nothing_left();
    }
    // What is not there is looked for at its registry.
    let output = runner.run(&["localhost:1/no/such:tag", "true"]);
    assert_eq!(output.code, 125, "{output}");
    let lines: Vec<_> = output.err().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{output}");
    assert_eq!(
        lines[0],
        "Unable to find image 'localhost:1/no/such:tag' locally"
    );
    assert!(lines[1].contains("cannot be reached"), "{output}");
    runner
        .run(&["--pull", "perhaps", "host", "true"])
        .one_line_error(125);
}

#[test]
fn flags_that_are_not_there_or_wrong() {
    let runner = Runner::new();
    for args in [
        &["--nonsense", "host", "true"][..],
        &["-Z", "host", "true"],
        &["--network", "nonsense", "host", "true"],
        &["-e", "=x", "host", "true"],
        &["--env-file", "/no/such/file", "host", "true"],
        &["--hostname", "a b", "host", "true"],
        &["--hostname", &"h".repeat(100), "host", "true"],
        &["--name"],
        &[],
    ] {
        let output = runner.run(args);
        assert_eq!(output.code, 125, "{output}");
        output.one_line_error(125);
    }
    let output = runner.call("nonsense", &[]);
    assert_eq!(output.code, 125, "{output}");
    output.one_line_error(125);
}

#[test]
fn no_command_at_all() {
    let runner = Runner::new();
    let output = runner.run(&["host"]);
    // docker: "no command specified"; a default shell would be an answer, too.
    if output.code != 0 {
        output.one_line_error(125);
    }
}

#[test]
fn not_root() {
    let runner = Runner::new();
    let copy = runner.scratch.join("runner");
    std::fs::copy(tests::programs::runner(), &copy).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid=40001", "--regid=40001", "--clear-groups", "--"])
        .arg(&copy);
    let line = run(command.args(["run", "--rm", "host", "true"])).one_line_error(125);
    assert!(line.contains("root"), "{line}");
}

#[test]
fn no_fuse_device() {
    let runner = Runner::new();
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", NO_FUSE, "sh"]);
    let inner = runner.command("run");
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .args(["--rm", "host", "true"]);
    let line = run(&mut command).one_line_error(125);
    assert!(line.contains("/dev/fuse"), "{line}");
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let runner = Runner::new();
    let file = runner.scratch.join("file");
    std::fs::write(&file, "").unwrap();
    let mut command = std::process::Command::new(tests::programs::runner());
    command
        .args(["run", "--rm", "--root"])
        .arg(&file)
        .args(["host", "true"]);
    run(&mut command).one_line_error(125);
    // Closed to others.
    runner.sh(&[], "true").ok();
    let meta = std::fs::metadata(runner.state()).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777,
        0o700
    );
}

#[test]
fn a_work_directory_that_leads_out_stays_inside() {
    let runner = Runner::new();
    let root = runner.scratch.dir("root");
    let outside = runner.scratch.dir("outside");
    std::os::unix::fs::symlink(&outside, root.join("out")).unwrap();
    std::os::unix::fs::symlink("../../../..", root.join("up")).unwrap();
    let image = format!("dir:{}", root.display());
    for directory in [
        "/out",
        "/out/new",
        "/up/../../..",
        "/proc/1/root",
        "/proc/self/root/..",
    ] {
        let output = runner.run(&["-w", directory, &image, "/nothing"]);
        assert!([125, 127].contains(&output.code), "{output}");
        output.one_line_error(output.code);
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}
