//! `cp`: files into containers and out of them, whether they run or not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tests::container::{Runner, debian};
use tests::process;

/// A tree on this machine: a file, one in a directory, a link.
fn tree(runner: &Runner) -> std::path::PathBuf {
    let tree = runner.scratch.dir("tree");
    fs::create_dir(tree.join("sub")).unwrap();
    fs::write(tree.join("f"), "file").unwrap();
    fs::write(tree.join("sub/g"), "deep").unwrap();
    fs::set_permissions(tree.join("f"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("sub/g", tree.join("link")).unwrap();
    tree
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

#[test]
fn both_ways_with_a_container_that_runs() {
    let runner = Runner::new();
    let id = runner.detached(
        &["--network=none", "-v", "vol:/vol", "--name=web"],
        "sleep 1000",
    );
    let tree = tree(&runner);
    let (tree, home) = (tree.to_str().unwrap(), runner.scratch.dir("home"));
    // A directory that is not there, one that is, and the contents alone.
    runner.ok("cp", &[tree, "web:/srv/new"]);
    runner.ok("cp", &[tree, "web:/srv"]);
    runner.ok("cp", &[&format!("{tree}/."), "web:/vol"]);
    runner.ok("cp", &[&format!("{tree}/f"), "web:/etc/renamed"]);
    let script = "cat /srv/new/f /srv/tree/sub/g /vol/link /etc/renamed; stat -c '%a %u' /vol/f; \
         readlink /vol/link";
    let seen = runner.ok("exec", &[&id, "sh", "-c", script]);
    assert_eq!(seen, "filedeepdeepfile4751 0\nsub/g");
    // And back, with what the container made.
    runner.ok(
        "exec",
        &[
            &id,
            "sh",
            "-c",
            "echo out >/vol/made; chown 7:8 /vol/made; ln -s made /vol/l",
        ],
    );
    let out = |args: &[&str]| runner.ok("cp", args);
    let at = |name: &str| home.join(name).to_str().unwrap().to_owned();
    out(&["web:/vol", &at("")]);
    assert_eq!(text(home.join("vol/made")), "out\n");
    assert_eq!(fs::metadata(home.join("vol/made")).unwrap().uid(), 0);
    out(&["-a", "web:vol/made", &at("kept")]);
    assert_eq!(fs::metadata(home.join("kept")).unwrap().uid(), 7);
    out(&["web:/vol/l", &at("link")]);
    assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("made"));
    out(&["-L", "web:/vol/l", &at("followed")]);
    assert_eq!(text(home.join("followed")), "out\n");
}

#[test]
fn both_ways_with_one_that_does_not_run() {
    let runner = Runner::new();
    let id = runner.detached(&["--network=none"], "echo made >/srv/made");
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    let home = runner.scratch.dir("home");
    let home_text = home.to_str().unwrap();
    runner.ok("cp", &[&format!("{id}:/srv/made"), home_text]);
    assert_eq!(text(home.join("made")), "made\n");
    // What the image has, too; and into it, for its next life.
    runner.ok("cp", &[&format!("{id}:/etc/passwd"), home_text]);
    assert_eq!(text(home.join("passwd")), text(debian().join("etc/passwd")));
    runner.ok(
        "cp",
        &[&format!("{home_text}/made"), &format!("{id}:/etc/new")],
    );
    assert!(runner.ok("diff", &[&id]).contains("A /etc/new"));
    runner.ok("start", &["-a", &id]);
}

#[test]
fn archives_at_standard_input_and_output() {
    let runner = Runner::new();
    let id = runner.detached(&["--network=none"], "sleep 1000");
    let tree = tree(&runner);
    runner.ok("cp", &[tree.to_str().unwrap(), &format!("{id}:/srv")]);
    let packed = runner.call("cp", &[&format!("{id}:/srv/tree"), "-"]);
    assert_eq!(packed.code, 0, "{packed}");
    let listed = process::run_with(
        std::process::Command::new("tar").args(["t"]),
        &packed.stdout,
        process::LIMIT,
    );
    let mut names: Vec<_> = listed.out().lines().map(str::to_owned).collect();
    for name in &mut names {
        // tar shows a directory with a slash, or without one, as it was packed.
        name.truncate(name.trim_end_matches('/').len());
    }
    names.sort();
    assert_eq!(
        names,
        ["tree", "tree/f", "tree/link", "tree/sub", "tree/sub/g"]
    );
    let mut command = runner.command("cp");
    command.args(["-", &format!("{id}:/opt")]);
    let put = process::run_with(&mut command, &packed.stdout, process::LIMIT);
    assert_eq!(put.code, 0, "{put}");
    assert_eq!(runner.ok("exec", &[&id, "cat", "/opt/tree/sub/g"]), "deep");
    let mut command = runner.command("cp");
    command.args(["-", &format!("{id}:/opt")]);
    process::run_with(&mut command, b"this is no archive", process::LIMIT).one_line_error(125);
}

#[test]
fn links_of_a_hostile_container_lead_nowhere_outside() {
    let runner = Runner::new();
    let canary = runner.scratch.join("canary");
    fs::write(&canary, "untouched").unwrap();
    let canary_text = canary.to_str().unwrap();
    let id = runner.detached(&["--network=none"], "sleep 1000");
    let script = format!(
        "ln -s {canary_text} /srv/file; ln -s {} /srv/dir; ln -s ../../../../../../.. /srv/up; \
         ln -s /proc/1/root/../.. /srv/proc",
        runner.scratch.path().display()
    );
    runner.ok("exec", &[&id, "sh", "-c", &script]);
    let local = runner.scratch.join("local");
    fs::write(&local, "evil").unwrap();
    let local = local.to_str().unwrap();
    // Into: what the links name is looked for inside, and is not there, or is the container's own.
    for target in [
        "/srv/file",
        "/srv/dir/canary",
        "/srv/up/canary",
        "/srv/proc/canary",
    ] {
        runner.call("cp", &[local, &format!("{id}:{target}")]);
        assert_eq!(text(&canary), "untouched", "{target}");
    }
    // Out of: nothing of this machine is read.
    let secret = format!("/srv/up{canary_text}");
    for source in ["/srv/file", &secret, "/srv/dir/canary"] {
        let to = runner.scratch.join("stolen");
        runner.call(
            "cp",
            &["-L", &format!("{id}:{source}"), to.to_str().unwrap()],
        );
        let stolen = fs::read_to_string(&to).unwrap_or_default();
        assert!(!stolen.contains("untouched"), "{source}");
    }
}

#[test]
fn what_does_not_fit_is_one_line() {
    let runner = Runner::new();
    let id = runner.detached(&["--network=none"], "sleep 1000");
    let tree = tree(&runner);
    let tree = tree.to_str().unwrap();
    let inside = |path: &str| format!("{id}:{path}");
    for (from, to) in [
        (inside("/none"), tree.to_owned()),
        (format!("{tree}/none"), inside("/srv")),
        (tree.to_owned(), inside("/etc/passwd")),
        (format!("{tree}/f"), inside("/srv/none/")),
        (format!("{tree}/f"), inside("/not/there/f")),
        (inside("/etc"), format!("{tree}/f")),
        (inside("/etc/passwd"), format!("{tree}/no/where")),
        (tree.to_owned(), tree.to_owned()),
        (inside("/etc"), inside("/srv")),
        ("nobody:/etc".to_owned(), tree.to_owned()),
    ] {
        runner.call("cp", &[&from, &to]).one_line_error(125);
    }
}
