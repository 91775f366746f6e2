//! `build`: what each instruction makes, the cache, and Dockerfiles that are wrong.

use std::fs;
use std::path::PathBuf;

use tests::container::Runner;
use tests::process::{Output, run, run_with};
use tests::registry::Packing;

use super::registry_hostile::{command, image, serve};

/// A runner with the Debian test root as image `debian`.
pub(crate) fn setting() -> Runner {
    let runner = Runner::new();
    let tar = tools::testroot::provide().unwrap().tar;
    runner
        .call("import", &[tar.to_str().unwrap(), "debian"])
        .ok();
    runner
}

/// A context of files.
pub(crate) fn context(runner: &Runner, files: &[(&str, &str)]) -> PathBuf {
    let place = runner.scratch.join("context");
    let _ = fs::remove_dir_all(&place);
    for (name, text) in files {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    place
}

pub(crate) fn build(runner: &Runner, args: &[&str], context: &std::path::Path) -> Output {
    let mut all = args.to_vec();
    all.push(context.to_str().unwrap());
    runner.call("build", &all)
}

pub(crate) fn shell(runner: &Runner, image: &str, script: &str) -> String {
    runner.run(&[image, "sh", "-c", script]).ok()
}

const DOCKERFILE: &str = r#"# syntax=docker/dockerfile:1
ARG BASE=debian
FROM ${BASE} AS tools
RUN mkdir /out && echo from-tools > /out/tool && ln -s tool /out/alias && chmod 750 /out/tool

FROM nothing-is-here AS unused
RUN false

FROM debian
ARG VERSION=1
ENV GREETING="hello world" PLACE=/srv/app
WORKDIR $PLACE/sub
COPY . .
COPY --from=tools /out /lib/
COPY --chown=daemon:5 --chmod=600 data/one.txt data/t*.txt /etc/picked/
COPY <<EOF /etc/motd
version $VERSION
EOF
ADD bundle.tar.gz /opt/
RUN echo "$VERSION $GREETING" > /version; rm -r /usr/share/doc; test "$(id -u)" = 0
USER daemon
RUN id -un > /tmp/who; ! touch /root/x 2>/dev/null
VOLUME /data
EXPOSE 8080 53/udp
LABEL stage=test "long key"="v v"
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT ["sh", "-c"]
CMD ["cat /version"]
"#;

#[test]
fn a_whole_dockerfile() {
    let runner = setting();
    let files = [
        ("Dockerfile", DOCKERFILE),
        (".dockerignore", "Dockerfile\n*.log\nsecret\n!secret/kept\n"),
        ("data/one.txt", "1"),
        ("data/two.txt", "2"),
        ("x.log", "no"),
        ("secret/hidden", "no"),
        ("secret/kept", "yes"),
    ];
    let place = context(&runner, &files);
    let bundle =
        "cd \"$1\"; mkdir -p b/in; echo packed > b/in/file; tar czf bundle.tar.gz -C b in; rm -r b";
    tests::process::call("sh", &["-c", bundle, "-", place.to_str().unwrap()]).ok();
    let args = [
        "-t",
        "app:v1",
        "--build-arg",
        "VERSION=7",
        "--label",
        "by=test",
    ];
    let told = build(&runner, &args, &place).ok();
    assert!(told.contains("Successfully tagged app:v1"), "{told}");
    assert!(
        !told.contains("RUN false") && !told.contains("Using cache"),
        "{told}"
    );
    assert_eq!(runner.run(&["app:v1"]).ok(), "7 hello world\n");
    let script = "pwd; find . -type f | sort; cat /etc/motd /tmp/who /opt/in/file; \
        stat -c '%U %g %a' /etc/picked/two.txt; ls /etc/picked; readlink /usr/lib/alias; stat -c %a /usr/lib/tool; \
        test -L /lib && test -d /data && ! test -e /usr/share/doc && echo good";
    let seen = runner.run(&["-u", "root", "app:v1", script]).ok();
    let wanted = "/srv/app/sub\n./.dockerignore\n./bundle.tar.gz\n./data/one.txt\n./data/two.txt\n./secret/kept\n\
        version 7\ndaemon\npacked\ndaemon 5 600\none.txt\ntwo.txt\ntool\n750\ngood\n";
    assert_eq!(seen, wanted);
    let template = "{{json .Config.ExposedPorts}} {{json .Config.Labels}} {{.Config.User}} {{.Config.StopSignal}} {{json .Config.Volumes}}";
    let seen = runner
        .call("inspect", &["--type", "image", "-f", template, "app:v1"])
        .ok();
    let wanted = r#"{"53/udp":{},"8080/tcp":{}} {"by":"test","long key":"v v","stage":"test"} daemon SIGINT {"/data":{}}"#;
    assert_eq!(seen.trim(), wanted);
    let history = runner
        .call(
            "history",
            &["--no-trunc", "--format", "{{.CreatedBy}}", "app:v1"],
        )
        .ok();
    assert!(history.starts_with("CMD [\"cat /version\"]\n"), "{history}");

    // Again: all of it from the cache, also with other times; the same layers.
    let layers = || {
        runner
            .call(
                "inspect",
                &["--type", "image", "-f", "{{json .RootFS.Layers}}", "app:v1"],
            )
            .ok()
    };
    let before = layers();
    let touched = place.join("data/one.txt");
    tests::process::call("touch", &["-d", "2001-01-01", touched.to_str().unwrap()]).ok();
    let told = build(&runner, &args, &place).ok();
    assert_eq!(told.matches("Using cache").count(), 9, "{told}");
    assert_eq!(layers(), before);
    let dangling = runner
        .call("images", &["-q", "--filter", "dangling=true"])
        .ok();
    assert_eq!(dangling, "", "the same is built anew");
    // Another value, another file: from there on anew.
    fs::write(&touched, "one more").unwrap();
    let told = build(&runner, &args, &place).ok();
    assert_eq!(told.matches("Using cache").count(), 2, "{told}");
    assert_eq!(runner.call("ps", &["-aq"]).ok(), "", "containers are left");
    let id = build(&runner, &["-q", "--target", "TOOLS"], &place).ok();
    assert_eq!(shell(&runner, id.trim(), "cat /out/alias"), "from-tools\n");
    // The cache goes with what is not used, and nothing else does.
    runner.call("system", &["prune", "-f"]).ok();
    assert!(!runner.state().join("builds/cache.json").exists());
    assert_eq!(runner.run(&["app:v1"]).ok(), "7 hello world\n");
}

/// The classic manual's container of data.
#[test]
fn the_manuals_data_volume() {
    let runner = setting();
    let place = context(
        &runner,
        &[(
            "Dockerfile",
            "FROM debian\nRUN mkdir /data && echo kept > /data/file\nVOLUME /data\nCMD [\"true\"]\n",
        )],
    );
    build(&runner, &["-t", "data"], &place).ok();
    runner.call("run", &["--name", "keeper", "data"]).ok();
    let args = [
        "--volumes-from",
        "keeper",
        "debian",
        "sh",
        "-c",
        "cat /data/file; echo more >> /data/file",
    ];
    assert_eq!(runner.run(&args).ok(), "kept\n");
    let args = ["--volumes-from", "keeper:ro", "debian", "cat", "/data/file"];
    assert_eq!(runner.run(&args).ok(), "kept\nmore\n");
    runner.call("rm", &["-v", "keeper"]).ok();
}

#[test]
fn from_scratch_and_from_standard_input() {
    let runner = setting();
    let place = context(
        &runner,
        &[
            ("Dockerfile", "FROM scratch\nCOPY a /\nCOPY a /b/\n"),
            ("a", "x"),
        ],
    );
    build(&runner, &["-t", "tiny"], &place).ok();
    let id = runner.call("create", &["tiny", "/none"]).ok();
    let file = runner.scratch.join("e.tar");
    runner
        .call("export", &["-o", file.to_str().unwrap(), id.trim()])
        .ok();
    let list = tests::process::call("tar", &["tf", file.to_str().unwrap()]).ok();
    for name in ["a", "b/a"] {
        assert!(list.lines().any(|line| line == name), "{list}");
    }
    runner.call("rm", &[id.trim()]).ok();

    let mut command = runner.command("build");
    let text = b"FROM debian\nONBUILD RUN echo triggered > /trigger\nRUN echo direct > /direct\n";
    run_with(
        command.args(["-t", "base", "-"]),
        text,
        tests::process::LIMIT,
    )
    .ok();
    let mut command = runner.command("build");
    let child = b"FROM base\nRUN test -e /trigger\n";
    let told = run_with(
        command.args(["-t", "child", "-"]),
        child,
        tests::process::LIMIT,
    )
    .ok();
    assert!(told.contains("build trigger"), "{told}");
    assert_eq!(
        shell(&runner, "child", "cat /direct /trigger"),
        "direct\ntriggered\n"
    );
    // A context as a tar, its Dockerfile elsewhere in it.
    let place = context(
        &runner,
        &[("sub/My", "FROM debian\nCOPY f /f\n"), ("f", "piped")],
    );
    let tar = tests::process::call("tar", &["cz", "-C", place.to_str().unwrap(), "."]);
    let mut command = runner.command("build");
    run_with(
        command.args(["-t", "piped", "-f", "sub/My", "-"]),
        &tar.stdout,
        tests::process::LIMIT,
    )
    .ok();
    assert_eq!(shell(&runner, "piped", "cat /f"), "piped");
}

#[test]
fn images_of_from_and_copy_are_pulled_once() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let server = serve(&image, Box::new(|_, _| None));
    let name = format!("{}/name:1", server.host());
    let text = format!("FROM {name}\nCOPY --from={name} /bin/tool /copy\n");
    let place = context(&runner, &[("Dockerfile", &text)]);
    let manifests = || {
        let requests = server.requests();
        let of = |request: &&tests::httpd::Request| request.target.contains("/manifests/");
        requests.iter().filter(of).count()
    };
    for (args, wanted) in [(&[][..], 1), (&[], 0), (&["--pull"], 1)] {
        let before = manifests();
        let args = [args, &["-t", "copied", place.to_str().unwrap()]].concat();
        run(&mut command(&runner, "build", &args)).ok();
        assert_eq!(manifests() - before, wanted, "{args:?}");
    }
    // Another image than that of FROM, which the store does not know.
    let other = format!("{}/other:1", server.host());
    let text = format!("FROM scratch\nCOPY --from={other} /bin/tool /copy\n");
    let place = context(&runner, &[("Dockerfile", &text)]);
    let args = ["-t", "copied", place.to_str().unwrap()];
    run(&mut command(&runner, "build", &args)).ok();
    let id = runner.call("create", &["copied", "/none"]).ok();
    let file = runner.scratch.join("copied");
    let from = format!("{}:/copy", id.trim());
    runner.call("cp", &[&from, file.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    runner.call("rm", &[id.trim()]).ok();
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_leaves_nothing() {
    let runner = setting();
    let outside = runner.scratch.join("outside");
    fs::write(&outside, "not yours").unwrap();
    let before = runner.call("images", &["-q"]).ok();
    let cases = [
        ("FROM debian\nRNU x\n", ":2"),
        ("RUN x\n", "line 1"),
        ("FROM debian\nRUN exit 3\n", "line 2: the command"),
        (
            "FROM debian\nCOPY missing /\n",
            "line 2: missing: not in the build context",
        ),
        (
            "FROM debian\nCOPY ../outside /\n",
            "not in the build context",
        ),
        ("FROM debian\nCOPY link /\n", "line 2"),
        (
            "FROM debian\nCOPY hidden /\n",
            ".dockerignore leaves it out",
        ),
        (
            "FROM debian\nCOPY --from=nobody/none@sha256:00 / /\n",
            "line 2",
        ),
        ("FROM debian\nCOPY --chown=nobody-knows f /\n", "--chown"),
        ("FROM debian\nADD https://example.org/x.git /\n", "clone it"),
        (
            "FROM debian\nRUN --mount=type=ssh,target=/x true\n",
            "not supported",
        ),
        ("FROM host\n", "want a stored image"),
        ("", "no FROM"),
    ];
    for (text, word) in cases {
        let files = [
            ("Dockerfile", text),
            ("f", "x"),
            ("hidden", "x"),
            (".dockerignore", "hidden\n"),
        ];
        let place = context(&runner, &files);
        std::os::unix::fs::symlink("../outside", place.join("link")).unwrap();
        let output = build(&runner, &["-t", "bad"], &place);
        assert_eq!(output.code, 125, "{text}: {output}");
        assert!(output.err().contains(word), "{text}: {output}");
        assert_eq!(runner.call("images", &["-q"]).ok(), before, "{text}");
        assert_eq!(
            runner.call("ps", &["-aq"]).ok(),
            "",
            "{text}: a container is left"
        );
    }
    build(&runner, &["-t", "UPPER"], &outside).one_line_error(125);
    build(&runner, &["--target", "x"], &runner.scratch.join("nowhere")).one_line_error(125);
    let args = ["--progress", "dots", "."];
    runner.call("build", &args).one_line_error(125);
}
