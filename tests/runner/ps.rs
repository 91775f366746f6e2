//! `ps`, `inspect`, `rename`, `rm`: finding containers and telling of them.

use tests::container::Runner;
use tests::process::call;

#[test]
fn the_table_is_dockers() {
    let runner = Runner::new();
    assert_eq!(
        runner.ok("ps", &[]),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES"
    );
    let id = runner.ok("create", &["--name", "web", "host", "sleep", "1000"]);
    runner.ok("start", &["web"]);
    let table = runner.ok("ps", &[]);
    let line = table.lines().nth(1).unwrap();
    let wanted = format!("{}   host      \"sleep 1000\"   ", &id[..12]);
    assert!(line.starts_with(&wanted), "{table}");
    assert!(
        line.contains(" ago   Up ") && line.ends_with("web"),
        "{table}"
    );
    assert_eq!(runner.ok("ps", &["-q", "--no-trunc"]), id);
    assert_eq!(runner.ok("ps", &["-q"]), &id[..12]);
}

#[test]
fn what_is_shown_and_in_which_order() {
    let runner = Runner::new();
    for name in ["first", "second", "third"] {
        runner.ok("create", &["--name", name, "host", "sleep", "1000"]);
    }
    runner.ok("start", &["second"]);
    let names = |args: &[&str]| {
        let all = [args, &["--format", "{{.Names}}"]].concat();
        runner.ok("ps", &all).replace('\n', " ")
    };
    assert_eq!(names(&[]), "second");
    assert_eq!(names(&["-a"]), "third second first");
    assert_eq!(names(&["-l"]), "third");
    assert_eq!(names(&["-n", "2"]), "third second");
    assert_eq!(names(&["-n", "-1"]), "second");
    assert_eq!(names(&["--last", "0"]), "");
}

#[test]
fn filters() {
    let runner = Runner::new();
    let a = runner.ok(
        "create",
        &[
            "--name",
            "aa",
            "-l",
            "color=red",
            "-l",
            "big",
            "host",
            "sh",
            "-c",
            "exit 3",
        ],
    );
    runner.ok(
        "create",
        &[
            "--name",
            "ab",
            "-l",
            "color=blue",
            "-v",
            "/etc:/data",
            "host",
            "sleep",
            "1000",
        ],
    );
    runner.ok(
        "create",
        &["--name", "cc", "--network", "host", "host", "true"],
    );
    runner.ok("start", &["ab"]);
    runner.call("start", &["-a", "aa"]);
    let names = |filters: &[&str]| {
        let mut args = vec!["-a", "--format", "{{.Names}}"];
        filters.iter().for_each(|f| args.extend(["-f", f]));
        runner.ok("ps", &args).replace('\n', " ")
    };
    for (filters, wanted) in [
        (&["name=a"][..], "ab aa"),
        (&["name=/ab"], "ab"),
        (&["label=color"], "ab aa"),
        (&["label=color=red"], "aa"),
        (&["label=color=red", "label=big"], "aa"),
        (&["label=color=red", "label=color=blue"], ""),
        (&["status=running"], "ab"),
        (&["status=exited"], "aa"),
        (&["status=created", "status=running"], "cc ab"),
        (&["exited=3"], "aa"),
        (&["exited=4"], ""),
        (&["ancestor=host", "name=cc"], "cc"),
        (&["before=cc"], "ab aa"),
        (&["since=aa"], "cc ab"),
        (&["volume=/data"], "ab"),
        (&["network=host"], "cc"),
        (&[&format!("id={}", &a[..10])], "aa"),
    ] {
        assert_eq!(names(filters), wanted, "{filters:?}");
    }
    // Asked for by its state, it is shown without -a.
    assert_eq!(
        runner.ok("ps", &["--filter", "exited=3", "--format", "{{.Names}}"]),
        "aa"
    );
    for bad in [
        "nonsense=1",
        "status=odd",
        "exited=x",
        "name",
        "before=nobody",
    ] {
        runner.call("ps", &["--filter", bad]).one_line_error(125);
    }
}

#[test]
fn formats() {
    let runner = Runner::new();
    runner.ok(
        "create",
        &[
            "--name",
            "ff",
            "-l",
            "k=v",
            "host",
            "echo",
            "a long command line, cut",
        ],
    );
    let ps = |format: &str| runner.ok("ps", &["-a", "--format", format]);
    assert_eq!(
        ps("table {{.Names}}\\t{{.State}}"),
        "NAMES     STATE\nff        created"
    );
    assert_eq!(
        ps("{{.Label \"k\"}} {{.Image}} {{.Networks}}"),
        "v host bridge"
    );
    assert_eq!(ps("{{.Command}}"), "\"echo a long command…\"");
    let json: serde_json::Value = serde_json::from_str(&ps("json")).unwrap();
    assert_eq!(json["Names"], "ff");
    let same: serde_json::Value = serde_json::from_str(&ps("{{json .}}")).unwrap();
    assert_eq!(json, same);
    let whole = runner.ok("ps", &["-a", "--no-trunc", "--format", "{{.Command}}"]);
    assert_eq!(whole, "\"echo a long command line, cut\"");
    runner.call("start", &["-a", "ff"]);
    let size = runner.ok("ps", &["-as", "--format", "{{.Size}}"]);
    assert!(size.ends_with('B'), "{size}");
    for bad in ["{{.Nope}}", "{{", "table {{.ID"] {
        let line = runner
            .call("ps", &["-a", "--format", bad])
            .one_line_error(125);
        assert!(line.contains("--format"), "{line}");
    }
}

#[test]
fn inspect_tells_everything_as_docker_does() {
    let runner = Runner::new();
    let id = runner.ok(
        "create",
        &[
            "--name",
            "ii",
            "-e",
            "A=b",
            "-w",
            "/tmp",
            "-u",
            "nobody",
            "-it",
            "-m",
            "64m",
            "--cpus",
            "0.5",
            "-v",
            "/etc:/data:ro",
            "--tmpfs",
            "/run",
            "--stop-signal",
            "INT",
            "-l",
            "k=v",
            "--restart",
            "on-failure:3",
            "--entrypoint",
            "echo",
            "host",
            "x",
            "y",
        ],
    );
    let text = runner.ok("inspect", &["ii"]);
    assert!(text.starts_with("[\n    {\n        \"Args\": ["), "{text}");
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let one = &all[0];
    for (path, wanted) in [
        ("/Id", serde_json::json!(id)),
        ("/Name", "/ii".into()),
        ("/Path", "echo".into()),
        ("/Args", serde_json::json!(["x", "y"])),
        ("/State/Status", "created".into()),
        ("/State/Running", false.into()),
        ("/Config/Entrypoint", serde_json::json!(["echo"])),
        ("/Config/Cmd", serde_json::json!(["x", "y"])),
        ("/Config/User", "nobody".into()),
        ("/Config/Tty", true.into()),
        ("/Config/OpenStdin", true.into()),
        ("/Config/WorkingDir", "/tmp".into()),
        ("/Config/StopSignal", "SIGINT".into()),
        ("/Config/Labels/k", "v".into()),
        ("/HostConfig/Memory", (64 << 20).into()),
        ("/HostConfig/NanoCpus", 500_000_000.into()),
        ("/HostConfig/RestartPolicy/Name", "on-failure".into()),
        ("/HostConfig/RestartPolicy/MaximumRetryCount", 3.into()),
        ("/HostConfig/Binds/0", "/etc:/data:ro".into()),
        ("/Mounts/0/Destination", "/data".into()),
        ("/Mounts/0/RW", false.into()),
        ("/Driver", "layerfs".into()),
    ] {
        assert_eq!(one.pointer(path), Some(&wanted), "{path} of {text}");
    }
    assert!(
        one["Config"]["Env"]
            .as_array()
            .unwrap()
            .contains(&"A=b".into())
    );
    assert_eq!(
        runner.inspect("ii", "{{json .Config.Cmd}}"),
        "[\"x\",\"y\"]"
    );
    assert_eq!(
        runner.inspect("ii", "{{range .Mounts}}{{.Type}} {{end}}"),
        "bind tmpfs "
    );
    assert_eq!(runner.inspect("ii", "{{index .Config.Cmd 1}}"), "y");
    let output = runner.call("inspect", &["ii", "nobody"]);
    assert_eq!(output.code, 125);
    assert_eq!(output.err(), "runner: no such object: nobody\n");
    assert!(output.out().contains(&id));
    assert_eq!(
        runner.ok(
            "inspect",
            &["--type", "image", "-f", "{{json .RepoTags}}", "host"]
        ),
        "[\"host\"]"
    );
    runner
        .call("inspect", &["--type", "container", "host"])
        .one_line_error(125);
}

#[test]
fn found_by_name_id_and_unique_beginning() {
    let runner = Runner::new();
    let ids: Vec<String> = (0..17)
        .map(|_| runner.ok("create", &["host", "true"]))
        .collect();
    // Of seventeen, two begin alike.
    let shared = ids
        .iter()
        .find(|a| ids.iter().any(|b| b != *a && b[..1] == a[..1]))
        .unwrap();
    let line = runner.call("inspect", &[&shared[..1]]).one_line_error(125);
    assert!(line.contains("several containers"), "{line}");
    for id in &ids {
        for wanted in [&id[..], &id[..12], &id[..20]] {
            assert_eq!(runner.inspect(wanted, "{{.Id}}"), *id);
        }
        let name = runner.inspect(id, "{{.Name}}");
        let (like, tool) = name.trim_start_matches('/').split_once('_').unwrap();
        assert!(like.len() > 2 && tool.len() > 2, "{name}");
        assert_eq!(runner.inspect(&name, "{{.Id}}"), *id);
    }
    for bad in ["", "/", "..", "../x", ".", "x/y", "zz"] {
        runner
            .call("inspect", &["--type", "container", bad])
            .one_line_error(125);
    }
}

#[test]
fn a_name_is_changed_and_stays_unique() {
    let runner = Runner::new();
    let id = runner.detached(&["--name", "old"], "sleep 1000");
    runner.ok("create", &["--name", "other", "host", "true"]);
    assert_eq!(runner.ok("rename", &["old", "new"]), "");
    assert_eq!(
        runner.inspect("new", "{{.Id}} {{.Name}}"),
        format!("{id} /new")
    );
    runner.call("inspect", &["old"]).one_line_error(125);
    let line = runner.call("rename", &["new", "other"]).one_line_error(125);
    assert!(line.contains("in use"), "{line}");
    for bad in ["a b", "-x", "../x", "new"] {
        runner
            .call("rename", &["--", "new", bad])
            .one_line_error(125);
    }
    // The old name is free.
    runner.ok("create", &["--name", "old", "host", "true"]);
    // Many at once: one wins.
    let wins = std::thread::scope(|scope| {
        let rename = |name| {
            let runner = &runner;
            scope.spawn(move || runner.call("rename", &[name, "prize"]).code == 0)
        };
        let workers = ["old", "other", "new"].map(rename);
        workers.map(|worker| worker.join().unwrap())
    });
    let wins = wins.iter().filter(|won| **won).count();
    assert_eq!(wins, 1);
}

#[test]
fn rm_removes_what_has_ended_and_the_rest_by_force() {
    let runner = Runner::new();
    runner.detached(&["--name", "up"], "sleep 1000");
    runner.ok("create", &["--name", "made", "host", "true"]);
    let line = runner.call("rm", &["up"]).one_line_error(125);
    assert!(line.contains("stop it first"), "{line}");
    assert_eq!(runner.ok("rm", &["made"]), "made");
    assert_eq!(runner.ok("rm", &["-f", "up", "nobody"]), "up\nnobody");
    runner.call("rm", &["nobody"]).one_line_error(125);
    runner.nothing_left();
}

#[test]
fn damaged_state_is_told_and_touches_nothing_else() {
    let runner = Runner::new();
    let bad = runner.ok("create", &["--name", "bad", "host", "true"]);
    runner.ok("create", &["--name", "good", "host", "true"]);
    let directory = runner.state().join("containers").join(&bad);
    for (file, text) in [
        ("config.json", "{ not json"),
        ("config.json", "{\"unknown\": 1}"),
        ("state.json", ""),
    ] {
        let path = directory.join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let output = runner.call("ps", &["-a", "--format", "{{.Names}}"]);
        assert_eq!(
            (output.code, output.out().as_str()),
            (0, "good\n"),
            "{output}"
        );
        assert!(
            output.err().contains(file) && output.err().lines().count() == 1,
            "{output}"
        );
        runner.call("start", &["bad"]).one_line_error(125);
        std::fs::write(&path, before).unwrap();
    }
    // A link in place of a file is not followed.
    let path = directory.join("state.json");
    std::fs::rename(&path, directory.join("moved")).unwrap();
    std::os::unix::fs::symlink("moved", &path).unwrap();
    runner.call("inspect", &["bad"]).one_line_error(125);
    call("rm", &[path.to_str().unwrap()]).ok();
    runner.ok("rm", &["bad", "good"]);
}
