//! `commit`: the image is what the container showed.

use tests::container::Runner;
use tests::layers::Layer;

/// The machine's own shell and tools at their places, so that scripts can run in a small image.
const TOOLS: [&str; 10] = [
    "-v",
    "/usr:/usr:ro",
    "-v",
    "/bin:/bin:ro",
    "-v",
    "/lib:/lib:ro",
    "-v",
    "/lib64:/lib64:ro",
    "--cap-add",
    "MKNOD",
];

fn setting() -> Runner {
    let runner = Runner::new();
    let tree = Layer::new()
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .dir("usr")
        .dir("bin")
        .dir("lib")
        .dir("lib64")
        .file("data/keep", "kept")
        .file("data/change", "old")
        .file("data/mode", "same")
        .file("data/gone", "x")
        .file("data/one", "linked")
        .link("data/two", "data/one")
        .file("deep/er/file", "deep")
        .file("again/old", "x")
        .file("moved/a/b", "moves")
        .file("moved/c", "stays in it")
        .file("totype", "file")
        .write(runner.scratch.join("tree"));
    runner
        .call("import", &[tree.to_str().unwrap(), "base"])
        .ok();
    runner
}

const SCRIPT: &str = r#"set -e
    echo new > /data/change; chmod 600 /data/mode; rm /data/gone; echo more >> /data/one
    rm -r /deep; mkdir /deep; echo fresh > /deep/new; rm -r /again; mkdir /again
    mv /moved /elsewhere; rm /elsewhere/c; echo in > /elsewhere/a/new
    rm /totype; mkdir /totype; echo x > /totype/in; ln -s nowhere /link; mkfifo /pipe; mknod /dev-null c 1 3
    mkdir -p /new/dir; echo 1 > /new/dir/f; ln /new/dir/f /new/g; chown 5:6 /new/g; touch -d 2001-02-03 /new/dir
    truncate -s 5M /sparse; echo end >> /sparse"#;

/// What is each container's own.
const OWN: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

#[test]
fn the_image_is_what_the_container_showed() {
    let runner = setting();
    let mut args = TOOLS.to_vec();
    args.extend([
        "--name",
        "job",
        "-e",
        "KEY=value",
        "-l",
        "stage=test",
        "base",
        "sh",
        "-c",
        SCRIPT,
    ]);
    runner.call("run", &args).ok();
    let wanted = runner.exported("job", &OWN);
    let id = runner
        .call("commit", &["-a", "Jo", "-m", "done", "job", "made:v1"])
        .ok();
    // What is in volumes is not in it, and neither is the whole tree.
    let sizes = runner
        .call(
            "history",
            &["--format", "{{.Size}} {{.Comment}}", "made:v1"],
        )
        .ok();
    assert_eq!(sizes.lines().count(), 2, "{sizes}");
    assert!(sizes.starts_with("4") && sizes.contains(" done"), "{sizes}");
    let template = "{{.Id}} {{.Author}} {{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Labels}} {{len .RootFS.Layers}}";
    let seen = runner
        .call("inspect", &["--type", "image", "-f", template, "made:v1"])
        .ok();
    assert!(
        seen.starts_with(&format!("{} Jo [\"sh\",\"-c\",", id.trim())),
        "{seen}"
    );
    assert!(
        seen.contains("\"KEY=value\"") && !seen.contains("HOSTNAME"),
        "{seen}"
    );
    assert!(seen.trim().ends_with(r#"{"stage":"test"} 2"#), "{seen}");

    let again = runner.call("create", &["made:v1", "true"]).ok();
    wanted.assert_same(&runner.exported(again.trim(), &OWN), "the committed image");
    // Once more on top, of a container that changed nothing, and then one more change.
    runner.call("commit", &[again.trim(), "made:v2"]).ok();
    let third = runner.call("create", &["made:v2", "true"]).ok();
    wanted.assert_same(
        &runner.exported(third.trim(), &OWN),
        "an image without changes",
    );
    runner.call("rmi", &["base"]).one_line_error(125);
    for container in ["job", again.trim(), third.trim()] {
        runner.call("rm", &[container]).ok();
    }
    runner.call("rmi", &["made:v1", "base"]).ok();
    let left = runner.call("run", &["--rm", "made:v2", "/none"]);
    assert_eq!(left.code, 127, "{left}");
}

#[test]
fn of_a_container_that_runs_and_what_cannot_be() {
    let runner = setting();
    let mut args = vec!["-d"];
    args.extend(TOOLS);
    args.extend([
        "base",
        "sh",
        "-c",
        "echo x > /made; while :; do sleep 0.1; done",
    ]);
    let id = runner.call("run", &args).ok();
    let id = id.trim();
    let seen = || runner.call("diff", &[id]).ok().contains("A /made");
    assert!(tests::process::wait_until(
        std::time::Duration::from_secs(30),
        seen
    ));
    runner.call("commit", &[id, "live"]).ok();
    let state = runner
        .call("inspect", &["-f", "{{.State.Status}}", id])
        .ok();
    assert_eq!(state.trim(), "running", "it was left frozen");
    let image = runner.call("create", &["live", "true"]).ok();
    assert!(
        runner
            .exported(image.trim(), &OWN)
            .names()
            .iter()
            .any(|name| name == "made")
    );
    runner.call("rm", &["-f", id]).ok();

    let host = runner.call("create", &["host", "true"]).ok();
    let line = runner
        .call("commit", &[host.trim(), "x"])
        .one_line_error(125);
    assert!(line.contains("not in the store"), "{line}");
    runner.call("commit", &["nobody"]).one_line_error(125);
    let line = runner
        .call("commit", &[image.trim(), "UPPER"])
        .one_line_error(125);
    assert!(line.contains("lower case"), "{line}");
}

/// An image's settings, as far as the changes of the test speak of them.
const SETTINGS: &str = "{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.ExposedPorts}} \
    {{.Config.User}} {{.Config.WorkingDir}} {{json .Config.Volumes}} {{.Config.StopSignal}} {{json .Config.Labels}}";

const CHANGES: [&str; 18] = [
    "-c",
    "CMD [\"serve\", \"$ROOT\"]",
    "-c",
    "entrypoint [\"/bin/tool\"]",
    "-c",
    "ENV ROOT=/srv PAGE=\"a b\" DATA=${ROOT}/data",
    "--change",
    "EXPOSE 80 53/udp",
    "-c",
    "USER 12:34",
    "-c",
    "WORKDIR /srv",
    "-c",
    "VOLUME /srv/data",
    "-c",
    "STOPSIGNAL SIGQUIT",
    "-c",
    "LABEL a.b=c",
];

#[test]
fn commit_and_import_take_changes() {
    let runner = setting();
    runner
        .call("create", &["--name", "job", "-e", "ROOT=/x", "base", "cmd"])
        .ok();
    let settings = |image: &str| {
        runner
            .call("inspect", &["--type", "image", "-f", SETTINGS, image])
            .ok()
    };
    runner
        .call("commit", &[&CHANGES[..], &["job", "changed"]].concat())
        .ok();
    let tree = runner.scratch.join("tree");
    let source = [tree.to_str().unwrap(), "imported"];
    runner
        .call("import", &[&CHANGES[..], &source].concat())
        .ok();
    // Within one instruction variables are those of before it, as in docker.
    let common =
        "{\"53/udp\":{},\"80/tcp\":{}} 12:34 /srv {\"/srv/data\":{}} SIGQUIT {\"a.b\":\"c\"}\n";
    assert_eq!(
        settings("imported"),
        format!(
            "[\"/bin/tool\"] [\"serve\",\"$ROOT\"] [\"ROOT=/srv\",\"PAGE=a b\",\"DATA=/data\"] {common}"
        )
    );
    let changed = settings("changed");
    assert!(
        changed.starts_with("[\"/bin/tool\"] [\"serve\",\"$ROOT\"] "),
        "{changed}"
    );
    assert!(
        changed.contains("\"ROOT=/srv\"") && changed.contains("\"DATA=/x/data\""),
        "{changed}"
    );
    assert!(changed.ends_with(common), "{changed}");
    for (bad, why) in [
        ("RUN make", "that takes a build"),
        ("COPY a b", "that takes a build"),
        ("EXPOSE many", "want PORT"),
        ("CMDD x", "did you mean CMD"),
        ("ENV ${X:?is not set}=1", "is not set"),
    ] {
        let before = runner.call("images", &["-aq"]).ok();
        let said = runner
            .call("commit", &["-c", bad, "job", "never"])
            .one_line_error(125);
        assert!(said.contains("--change") && said.contains(why), "{said}");
        assert_eq!(runner.call("images", &["-aq"]).ok(), before);
    }
}
