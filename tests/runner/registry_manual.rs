//! A private registry as the manual has it: built, run with a published port, pushed to and pulled from.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use tests::container::Runner;
use tests::layers::Layer;
use tests::process::{self, wait_until};
use tests::registry::skopeo_copy;
use tools::docker::Daemon;

const DOCKERFILE: &str = r#"FROM debian
RUN apt-get install -y --no-download docker-registry
COPY <<CONFIG /etc/docker/registry/config.yml
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/docker-registry
http:
  addr: :5000
CONFIG
USER docker-registry
VOLUME /var/lib/docker-registry
EXPOSE 5000
CMD ["docker-registry", "serve", "/etc/docker/registry/config.yml"]
"#;

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_private_registry_in_a_container() {
    let runner = Runner::new();
    let root = tools::testroot::provide().unwrap().tar;
    runner.ok("import", &[root.to_str().unwrap(), "debian"]);
    let context = runner.scratch.dir("context");
    fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    runner.ok(
        "build",
        &["-q", "-t", "registry", context.to_str().unwrap()],
    );

    let port = free_port();
    let host = format!("localhost:{port}");
    let publish = format!("{port}:5000");
    runner.ok("run", &["-d", "-p", &publish, "--name", "reg", "registry"]);
    let answers = || {
        let url = format!("http://{host}/v2/");
        process::run(Command::new("python3").args(["-c", FETCH, &url])).code == 0
    };
    let up = wait_until(Duration::from_secs(60), answers);
    assert!(up, "{}", runner.call("logs", &["reg"]).err());

    let tree = Layer::new()
        .file("bin/tool", "x")
        .mode(0o4755)
        .owner(3, 4)
        .xattr("user.note", "kept")
        .link("bin/same", "bin/tool")
        .symlink("lib", "usr/lib")
        .file("usr/lib/data", vec![7; 3_000_000])
        .write(runner.scratch.join("tree"));
    runner.ok("import", &[tree.to_str().unwrap(), "mine"]);
    let wanted = runner.shown("mine", &[]);
    let name = format!("{host}/team/mine:v1");
    runner.ok("tag", &["mine", &name]);
    runner.ok("push", &[&name]);
    let id = runner.ok("images", &["-q", "--no-trunc", "mine"]);
    runner.ok("rmi", &["-f", id.trim()]);
    runner.ok("pull", &[&name]);
    assert_eq!(runner.ok("images", &["-q", "--no-trunc", &name]), id);
    wanted.assert_same(&runner.shown(&name, &[]), "pushed and pulled");

    // skopeo both ways.
    let layout = runner.scratch.join("layout");
    let [from, to] = [
        format!("docker://{name}"),
        format!("oci:{}:v1", layout.display()),
    ];
    skopeo_copy(&[&from, &to]).ok();
    let copy = format!("{host}/team/copy:v2");
    skopeo_copy(&[&to, &format!("docker://{copy}")]).ok();
    // By run, which pulls what is not there.
    runner.ok("create", &["--name", "pulled", &copy, "none"]);
    wanted.assert_same(&runner.shown(&copy, &[]), "by way of skopeo");

    // Docker, which puts a layer of its own on top.
    let docker = Daemon::start(&runner.scratch.join("docker")).unwrap();
    let by_docker = |args: &[&str]| {
        let mut command = docker.command();
        process::run(command.args(args).env("DOCKER_BUILDKIT", "0")).ok()
    };
    fs::write(
        context.join("Dockerfile"),
        format!("FROM {name}\nCOPY Dockerfile /theirs\n"),
    )
    .unwrap();
    let theirs = format!("{host}/team/theirs:v3");
    by_docker(&["build", "-q", "-t", &theirs, context.to_str().unwrap()]);
    by_docker(&["push", "-q", &theirs]);
    drop(docker);
    runner.ok("pull", &["-q", &theirs]);
    wanted.assert_same(&runner.shown(&theirs, &["theirs"]), "by way of docker");
    let ours = wanted.diff(&runner.shown(&theirs, &[]));
    assert!(ours.contains("\"theirs\""), "{ours}");

    // What was pushed lies in the volume, not in the container.
    runner.ok("stop", &["reg"]);
    let refused = runner.call("pull", &[&name]).one_line_error(125);
    assert!(refused.contains(&host), "{refused}");
    runner.ok(
        "run",
        &[
            "-d",
            "-p",
            &publish,
            "--volumes-from",
            "reg",
            "--name",
            "again",
            "registry",
        ],
    );
    assert!(wait_until(Duration::from_secs(60), answers));
    runner.ok("rmi", &[&name]);
    runner.ok("pull", &[&name]);
    runner.ok("rm", &["-f", "-v", "reg", "again", "pulled"]);
}

/// Ends with 0 if there is an answer.
const FETCH: &str = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5).read()";
