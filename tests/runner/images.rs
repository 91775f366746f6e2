//! `import`, `images`, `rmi`.

use std::fs;
use std::path::PathBuf;

use tests::container::Runner;
use tests::layers::Layer;
use tests::process::call;
use tests::snapshot::{Snapshot, View};

/// A small root that can run static programs only: what is imported must come out the same.
fn tree(runner: &Runner) -> PathBuf {
    Layer::new()
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("bin/tool", "x")
        .mode(0o4755)
        .owner(3, 4)
        .xattr("user.note", "kept")
        .xattr(
            "security.capability",
            [
                1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        )
        .link("bin/same", "bin/tool")
        .symlink("lib", "usr/lib")
        .file("usr/lib/data", vec![7; 300_000])
        .dir("tmp")
        .mode(0o1777)
        .fifo("run/pipe")
        .file("name with spaces and \u{e9}", "1")
        .file("x".repeat(200) + "/" + &"y".repeat(200), "long")
        .write(runner.scratch.join("tree"))
}

fn archive(runner: &Runner, name: &str, flag: &str) -> PathBuf {
    let file = runner.scratch.join(name);
    let made = runner.scratch.join("tree");
    let tree = if made.exists() { made } else { tree(runner) };
    let args = [
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--numeric-owner",
        flag,
        "-f",
    ];
    let mut all: Vec<&str> = args.to_vec();
    all.extend([file.to_str().unwrap(), "-C", tree.to_str().unwrap(), "."]);
    call("tar", &all).ok();
    file
}

/// The tree as the container's root shows it, read on the host through /proc while it runs? No:
/// copied out through a volume by the machine's own tar.
fn shown(runner: &Runner, image: &str) -> Snapshot {
    let out = runner.scratch.dir("out");
    let tools = runner.scratch.dir("tools");
    // A static shell is not on every machine; the image brings none. The host's root is a volume.
    let script = "exec /host/usr/bin/tar --xattrs --xattrs-include='*' --numeric-owner --one-file-system \
        --exclude=./proc --exclude=./sys --exclude=./dev --exclude=./host --exclude=./out -C / -cf /out/all.tar .";
    let host = "/:/host:ro".to_owned();
    let volume = format!("{}:/out", out.display());
    // Absolute links of the machine lead astray below /host: its real path.
    let loader = fs::canonicalize("/lib64/ld-linux-x86-64.so.2").unwrap();
    let loader = &format!("/host{}", loader.display());
    let libraries = "/host/lib/x86_64-linux-gnu:/host/usr/lib/x86_64-linux-gnu";
    let args = [
        "-v",
        &host,
        "-v",
        &volume,
        "--privileged",
        "--entrypoint",
        loader,
        image,
    ];
    let mut all = args.to_vec();
    all.extend(["--library-path", libraries, "/host/usr/bin/dash", "-c"]);
    let tar = "/host/usr/bin/tar";
    let script = script.replace(tar, &format!("{loader} --library-path {libraries} {tar}"));
    all.push(&script);
    runner.run(&all).ok();
    let unpacked = runner.scratch.join("unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir(&unpacked).unwrap();
    let [from, to] =
        [out.join("all.tar"), unpacked.clone()].map(|p| p.to_str().unwrap().to_owned());
    call(
        "tar",
        &[
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xpf",
            &from,
            "-C",
            &to,
        ],
    )
    .ok();
    drop(tools);
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    Snapshot::of(&unpacked, &view)
}

#[test]
fn an_imported_tree_is_the_same_tree() {
    for (name, flag) in [("root.tar", "-c"), ("root.tar.gz", "-cz")] {
        let runner = Runner::new();
        let file = archive(&runner, name, flag);
        runner
            .call("import", &[file.to_str().unwrap(), "small"])
            .ok();
        let seen = shown(&runner, "small");
        let view = View {
            no_dir_times: true,
            ..View::plain()
        };
        let wanted = Snapshot::of(&runner.scratch.join("tree"), &view);
        for path in wanted.names() {
            if ["etc", "."].contains(&path.as_str()) {
                continue;
            }
            assert_eq!(seen.get(&path), wanted.get(&path), "{path} of {name}");
        }
        runner.call("rmi", &["small"]).ok();
    }
}

#[test]
fn a_directory_can_be_imported_and_the_source_can_go() {
    let runner = Runner::new();
    let tree = tree(&runner);
    runner
        .call("import", &[tree.to_str().unwrap(), "fromdir:v1"])
        .ok();
    fs::remove_dir_all(&tree).unwrap();
    let list = runner.call("images", &[]).ok();
    let line = list
        .lines()
        .find(|l| l.starts_with("fromdir"))
        .unwrap_or_else(|| panic!("{list}"));
    assert!(line.contains("v1"), "{line}");
    let output = runner.run(&["fromdir:v1", "/bin/tool"]);
    assert!([126, 127].contains(&output.code), "{output}");
    runner.call("rmi", &["fromdir:v1"]).ok();
    assert!(!runner.call("images", &[]).ok().contains("fromdir"));
}

#[test]
fn images_are_listed_replaced_and_removed() {
    let runner = Runner::new();
    assert_eq!(
        runner.call("images", &[]).ok().lines().count(),
        1,
        "a heading only"
    );
    let file = archive(&runner, "a.tar", "-c");
    let file = file.to_str().unwrap();
    runner.call("import", &[file, "one"]).ok();
    runner.call("import", &[file, "two:tag"]).ok();
    runner.call("import", &[file, "one"]).ok();
    let list = runner.call("images", &[]).ok();
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(
        list.lines().next().unwrap().starts_with("REPOSITORY"),
        "{list}"
    );
    runner.call("rmi", &["one", "two:tag"]).ok();
    assert_eq!(runner.call("images", &[]).ok().lines().count(), 1);
    let line = runner.call("rmi", &["one"]).one_line_error(125);
    assert!(line.contains("one"), "{line}");
    // All the room is given back.
    let size = call("du", &["-s", "-B1024", runner.state().to_str().unwrap()]).ok();
    let size: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    assert!(size < 200, "{size} KiB are left in the state directory");
}

#[test]
fn an_archive_on_standard_input() {
    let runner = Runner::new();
    let file = archive(&runner, "a.tar.gz", "-cz");
    let data = fs::read(&file).unwrap();
    let mut command = runner.command("import");
    let output =
        tests::process::run_with(command.args(["-", "piped"]), &data, tests::process::LIMIT);
    output.ok();
    assert!(runner.call("images", &[]).ok().contains("piped"));
}

#[test]
fn bad_archives_and_names_are_refused_and_publish_nothing() {
    let runner = Runner::new();
    let good = archive(&runner, "good.tar.gz", "-cz");
    let bytes = fs::read(&good).unwrap();
    let at = |name: &str, content: &[u8]| {
        let path = runner.scratch.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let plain = fs::read(archive(&runner, "good.tar", "-c")).unwrap();
    let sources = [
        at("empty.tar", b""),
        at(
            "text.tar",
            &b"this is no archive, whatever it is called\n".repeat(100),
        ),
        at("short.tar.gz", &bytes[..bytes.len() / 2]),
        at("flipped.tar.gz", &flipped),
        at("short.tar", &plain[..plain.len() / 2]),
        at("cut.tar", &plain[..700]),
        "/no/such/file.tar".to_owned(),
        "/dev/null".to_owned(),
    ];
    for source in &sources {
        let output = runner.call("import", &[source, "bad"]);
        assert_ne!(output.code, 0, "{output}");
        let line = output.one_line_error(output.code);
        let name = source.rsplit('/').next().unwrap();
        assert!(line.contains(name), "does not name the file: {line}");
        assert_eq!(
            runner.call("images", &[]).ok().lines().count(),
            1,
            "{source} was published"
        );
    }
    let good = good.to_str().unwrap();
    for name in [
        "Upper",
        "a b",
        "",
        ":tag",
        "a:",
        "a:b:c",
        "../x",
        "a//b",
        "host",
        "dir:x",
        &"n".repeat(300),
    ] {
        let output = runner.call("import", &[good, name]);
        assert_ne!(output.code, 0, "the name {name:?} was accepted: {output}");
        output.one_line_error(output.code);
    }
    let size = call("du", &["-s", "-B1024", runner.state().to_str().unwrap()]).ok();
    let size: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    assert!(size < 200, "failed imports left {size} KiB");
}

#[test]
fn an_import_that_is_killed_leaves_nothing_visible() {
    let runner = Runner::new();
    let tar = tools::testroot::provide().unwrap().tar;
    for delay in [30, 120, 300] {
        let mut command = runner.command("import");
        let mut running = tests::process::Running::start(command.arg(&tar).arg("half"));
        std::thread::sleep(std::time::Duration::from_millis(delay));
        running.signal(rustix::process::Signal::KILL);
        running.wait(std::time::Duration::from_secs(5));
        let list = runner.call("images", &[]).ok();
        assert_eq!(list.lines().count(), 1, "{list}");
    }
    let file = archive(&runner, "a.tar", "-c");
    runner
        .call("import", &[file.to_str().unwrap(), "half"])
        .ok();
    runner.call("rmi", &["half"]).ok();
    let size = call("du", &["-s", "-B1024", runner.state().to_str().unwrap()]).ok();
    let size: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    assert!(size < 500, "killed imports left {size} KiB behind");
}
