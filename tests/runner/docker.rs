//! Images to docker and back: by archives and by a registry, file by file.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::container::{Runner, unpacked};
use tests::layers::Layer;
use tests::process::{self, call};
use tests::registry::Registry;
use tests::snapshot::{Snapshot, View};
use tools::docker::Daemon;

/// Made where a container mounts something, by docker or by us; not of the image.
const MOUNTED: [&str; 8] = [
    "dev",
    "proc",
    "sys",
    ".dockerenv",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
];

/// The two sides, each with its own way to say the same.
struct Sides<'a> {
    runner: &'a Runner,
    docker: &'a Daemon,
}

impl Sides<'_> {
    fn docker(&self, args: &[&str]) -> String {
        process::run(self.docker.command().args(args)).ok()
    }

    /// What both show of an image of the same name is the same, and so is its id.
    #[track_caller]
    fn same(&self, image: &str) {
        let scratch = &self.runner.scratch;
        let ours = self.runner.shown(image, &MOUNTED);
        let file = scratch.join("theirs.tar");
        self.docker(&["create", "--name", "shown", image, "none"]);
        self.docker(&["export", "-o", file.to_str().unwrap(), "shown"]);
        self.docker(&["rm", "shown"]);
        // Docker makes the directory for the files that it mounts there.
        let theirs = unpacked(
            &file,
            &scratch.join("theirs"),
            &[&MOUNTED[..], &["etc"]].concat(),
        );
        theirs.assert_same(&ours, image);
        let id = ["inspect", "--type", "image", "-f", "{{.Id}}", image];
        assert_eq!(
            self.runner.ok(id[0], &id[1..]).trim(),
            self.docker(&id).trim(),
            "{image}"
        );
    }

    fn forget(&self, image: &str) {
        self.runner.ok("rmi", &[image]);
        self.docker(&["rmi", image]);
    }
}

/// A tree with what archives lose easily.
fn tree(runner: &Runner) -> String {
    let tree = Layer::new()
        .file("bin/tool", "x")
        .mode(0o4755)
        .owner(3, 4)
        .link("bin/same", "bin/tool")
        .file("cap", "x")
        .xattr(
            "security.capability",
            [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .symlink("lib", "usr/lib")
        .file("usr/lib/data", vec![7; 300_000])
        .file("gone/later", "x")
        .file("replaced/old", "x")
        .fifo("run/pipe")
        .write(runner.scratch.join("tree"));
    whole_seconds(&tree);
    tree.to_str().unwrap().to_owned()
}

/// Cuts times to seconds: docker and umoci round them.
fn whole_seconds(tree: &Path) {
    let cut = r#"find "$0" -depth -exec sh -c 'for f; do touch -h -d "@$(stat -c %Y "$f")" "$f"; done' sh {} +"#;
    call("sh", &["-c", cut, tree.to_str().unwrap()]).ok();
}

#[test]
fn archives_and_a_registry_go_both_ways() {
    let runner = Runner::new();
    let docker = Daemon::start(&runner.scratch.join("docker")).unwrap();
    let sides = Sides {
        runner: &runner,
        docker: &docker,
    };
    let file = runner.scratch.join("image.tar");
    let file = file.to_str().unwrap();

    // Ours, of two layers: save, load.
    runner.ok("import", &["-c", "ENV A=b", &tree(&runner), "ours:1"]);
    let context = runner.scratch.dir("context");
    let dockerfile = "FROM ours:1\nWORKDIR /replaced\nCOPY --chown=5:6 Dockerfile /srv/\nLABEL x=y\nCMD [\"tool\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let place = context.to_str().unwrap();
    runner.ok("build", &["-q", "-t", "ours:2", place]);
    runner.ok("save", &["-o", file, "ours:2"]);
    sides.docker(&["load", "-i", file]);
    sides.same("ours:2");
    sides.forget("ours:2");

    // Theirs, built by docker on ours: save, load.
    runner.ok("save", &["-o", file, "ours:1"]);
    sides.docker(&["load", "-i", file]);
    process::run(
        docker
            .command()
            .args(["build", "-q", "-t", "theirs:1", place])
            .env("DOCKER_BUILDKIT", "0"),
    )
    .ok();
    sides.docker(&["save", "-o", file, "theirs:1"]);
    runner.ok("load", &["-i", file]);
    sides.same("theirs:1");

    // A registry in the middle, each pushing for the other.
    let registry = Registry::start(&runner.scratch, "");
    let host = registry.host.replace("127.0.0.1", "localhost");
    let [ours, theirs] = ["ours", "theirs"].map(|name| format!("{host}/{name}:1"));
    runner.ok("tag", &["ours:1", &ours]);
    runner.ok("push", &[&ours]);
    sides.docker(&["rmi", "-f", "ours:1"]);
    sides.docker(&["pull", "-q", &ours]);
    sides.same(&ours);
    sides.docker(&["tag", "theirs:1", &theirs]);
    sides.docker(&["push", "-q", &theirs]);
    runner.ok("rmi", &["theirs:1"]);
    runner.ok("pull", &["-q", &theirs]);
    sides.same(&theirs);
}

#[test]
fn layouts_of_umoci_go_both_ways() {
    let runner = Runner::new();
    let layout = runner.scratch.join("layout");
    let image = format!("{}:v1", layout.display());
    let umoci = |args: &[&str]| process::run(Command::new("umoci").args(args)).ok();
    let bundle = runner.scratch.join("bundle");
    let bundle = bundle.to_str().unwrap();
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    umoci(&["unpack", "--image", &image, bundle]);
    let source = tree(&runner);
    let inner = format!("{bundle}/rootfs");
    call("cp", &["-a", &format!("{source}/."), &inner]).ok();
    umoci(&["repack", "--image", &image, bundle]);
    fs::remove_file(format!("{inner}/gone/later")).unwrap();
    fs::remove_dir_all(format!("{inner}/replaced")).unwrap();
    fs::create_dir(format!("{inner}/replaced")).unwrap();
    fs::write(format!("{inner}/replaced/new"), "new").unwrap();
    whole_seconds(Path::new(&inner));
    umoci(&["repack", "--refresh-bundle", "--image", &image, bundle]);
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.cmd",
        "tool",
        "--config.env",
        "A=b",
    ]);

    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    let wanted = Snapshot::of(Path::new(&inner), &view);
    let loaded = runner.ok("load", &["-i", layout.to_str().unwrap()]);
    let id = loaded.trim().rsplit(' ').next().unwrap();
    wanted.assert_same(&runner.shown(id, &MOUNTED), "loaded");

    // Ours, taken apart by umoci.
    runner.ok("tag", &[id, "back:v1"]);
    let file = runner.scratch.join("saved.tar");
    runner.ok("save", &["-o", file.to_str().unwrap(), "back:v1"]);
    let saved = runner.scratch.dir("saved");
    call(
        "tar",
        &["xf", file.to_str().unwrap(), "-C", saved.to_str().unwrap()],
    )
    .ok();
    let tags = umoci(&["list", "--layout", saved.to_str().unwrap()]);
    let tag = tags.lines().next().unwrap();
    let again = runner.scratch.join("again");
    let image = format!("{}:{tag}", saved.display());
    umoci(&["unpack", "--image", &image, again.to_str().unwrap()]);
    wanted.assert_same(&Snapshot::of(&again.join("rootfs"), &view), "saved");
}
