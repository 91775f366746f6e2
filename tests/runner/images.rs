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
    // What lost its name to a newer image of the same contents is there still, without one.
    assert_eq!(list.lines().count(), 4, "{list}");
    assert!(
        list.lines().any(|line| line.starts_with("<none> ")),
        "{list}"
    );
    let pruned = runner.call("image", &["prune", "-f"]).ok();
    assert!(pruned.contains("deleted: sha256:"), "{pruned}");
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

/// Names, ids and steps as docker shows them; a filter's and a template's answers.
#[test]
fn tags_history_inspect_and_filters() {
    let runner = Runner::new();
    let file = archive(&runner, "a.tar", "-c");
    let id = runner.call("import", &["-m", "by hand", file.to_str().unwrap(), "one"]);
    let id = id.ok().trim().to_owned();
    assert_eq!(id.len(), 7 + 64, "{id}");
    runner
        .call("tag", &["one", "localhost:5000/team/two:v2"])
        .ok();
    runner
        .call("tag", &[&id[7..19], "docker.io/library/three"])
        .ok();
    let format = ["--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
    let list = runner.call("images", &format).ok();
    let mut lines: Vec<_> = list.lines().collect();
    lines.sort_unstable();
    let short = &id[7..19];
    let wanted = ["localhost:5000/team/two:v2", "one:latest", "three:latest"];
    assert_eq!(lines, wanted.map(|name| format!("{name} {short}")));

    let filtered = |args: &[&str]| {
        let mut all = vec!["--format", "{{.Repository}}"];
        all.extend(args);
        runner.call("images", &all).ok().trim().to_owned()
    };
    assert_eq!(filtered(&["three"]), "three");
    assert_eq!(
        filtered(&["--filter", "reference=localhost:5000/*/t*"]),
        "localhost:5000/team/two"
    );
    assert_eq!(filtered(&["--filter", "dangling=true"]), "");
    assert_eq!(filtered(&["--filter", "label=none"]), "");
    runner
        .call("images", &["--filter", "colour=red"])
        .one_line_error(125);
    assert_eq!(runner.call("images", &["-q", "--no-trunc"]).ok().trim(), id);

    let history = runner
        .call("history", &["--format", "{{.ID}} {{.Comment}}", "one"])
        .ok();
    assert_eq!(history.trim(), format!("{short} by hand"));
    let template = "{{.Id}} {{json .RepoTags}} {{.Os}} {{len .RootFS.Layers}}";
    let seen = runner
        .call("inspect", &["--type", "image", "-f", template, short])
        .ok();
    let names = r#"["localhost:5000/team/two:v2","one:latest","three:latest"]"#;
    assert_eq!(seen.trim(), format!("{id} {names} linux 1"));

    let line = runner.call("rmi", &[short]).one_line_error(125);
    assert!(line.contains("several names"), "{line}");
    let gone = runner.call("rmi", &["one"]).ok();
    assert_eq!(gone.trim(), "Untagged: one:latest");
    let gone = runner.call("rmi", &["-f", short]).ok();
    let lines: Vec<_> = gone
        .lines()
        .map(|line| &line[..line.find(':').unwrap()])
        .collect();
    assert_eq!(
        lines,
        ["Untagged", "Untagged", "Deleted", "Deleted"],
        "{gone}"
    );
    for bad in ["UPPER", "a@sha256:00", "host"] {
        runner.call("tag", &["one", bad]).one_line_error(125);
    }
}

/// An image stays while a container needs it, running or not; by force it goes and the container runs on.
#[test]
fn a_container_keeps_its_layers() {
    let runner = Runner::new();
    let tar = tools::testroot::provide().unwrap().tar;
    runner
        .call("import", &[tar.to_str().unwrap(), "debian"])
        .ok();
    let id = runner
        .call("create", &["debian", "cat", "/etc/hostname"])
        .ok();
    let line = runner.call("rmi", &["debian"]).one_line_error(125);
    assert!(line.contains(&id.trim()[..12]), "{line}");
    assert!(
        runner
            .call("image", &["prune", "-af"])
            .ok()
            .contains("space: 0B")
    );
    runner.call("rmi", &["-f", "debian"]).ok();
    assert_eq!(runner.call("images", &["-q"]).ok(), "");
    runner.call("start", &["-a", id.trim()]).ok();
    runner.call("rm", &[id.trim()]).ok();
    runner.call("image", &["prune", "-f"]).ok();
    let layers = fs::read_dir(runner.state().join("layers")).unwrap();
    assert_eq!(
        layers.count(),
        0,
        "the last container's layer is still there"
    );
}

/// The upper's root directory once took the mode of the packed layer's file, 0600: nobody but root could
/// do anything.
#[test]
fn the_root_directory_is_the_layers_own() {
    let runner = Runner::new();
    let tar = tools::testroot::provide().unwrap().tar;
    runner
        .call("import", &[tar.to_str().unwrap(), "debian"])
        .ok();
    let seen = runner.run(&["-u", "daemon", "debian", "stat", "-c", "%a %u:%g", "/"]);
    assert_eq!(seen.ok(), "755 0:0\n");

    let tree = tree(&runner);
    fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(&tree, Some(3), Some(4)).unwrap();
    let file = runner.scratch.join("odd.tar");
    let [file, tree] = [&file, &tree].map(|path| path.to_str().unwrap());
    call("tar", &["-cf", file, "--numeric-owner", "-C", tree, "."]).ok();
    for (source, wanted) in [(file, "711 3:4"), (tree, "711 3:4")] {
        runner.call("import", &[source, "odd"]).ok();
        let id = runner.call("create", &["odd", "/none"]).ok();
        let upper = runner
            .state()
            .join("containers")
            .join(id.trim())
            .join("upper");
        let seen = call("stat", &["-c", "%a %u:%g", upper.to_str().unwrap()]).ok();
        assert_eq!(seen.trim(), wanted, "{source}");
        runner.call("rm", &[id.trim()]).ok();
    }
}
