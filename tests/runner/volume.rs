//! Volumes of ours: named, anonymous, of other containers; who keeps them, and how they go.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use tests::container::{Runner, debian};

const ALONE: &str = "--network=none";

fn volumes(runner: &Runner) -> Vec<String> {
    let out = runner.ok("volume", &["ls", "-q"]);
    out.lines().map(str::to_owned).collect()
}

/// The path of a volume's contents on the machine.
fn data(runner: &Runner, name: &str) -> std::path::PathBuf {
    runner
        .ok("volume", &["inspect", "-f", "{{.Mountpoint}}", name])
        .into()
}

#[test]
fn a_named_volume_gets_the_images_content_once_and_outlives_containers() {
    let runner = Runner::new();
    let flags = [ALONE, "-v", "conf:/etc/apt"];
    let script = "ls -A /etc/apt; echo mine >/etc/apt/mine; rm -r /etc/apt/apt.conf.d";
    let first = runner.debian(&flags, script).ok();
    let own: Vec<_> = fs::read_dir(debian().join("etc/apt"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!own.is_empty());
    for name in &own {
        assert!(first.lines().any(|line| line == name), "{name}: {first}");
    }
    // What was removed does not come again, what was written stays.
    let second = runner
        .debian(&flags, "ls -A /etc/apt; cat /etc/apt/mine")
        .ok();
    assert!(
        second.contains("mine\n") && !second.contains("apt.conf.d"),
        "{second}"
    );
    assert_eq!(volumes(&runner), ["conf"]);
    assert_eq!(
        fs::read_to_string(data(&runner, "conf").join("mine")).unwrap(),
        "mine\n"
    );
}

#[test]
fn the_copy_has_owner_mode_and_times() {
    let runner = Runner::new();
    let image = runner.scratch.dir("image");
    fs::create_dir_all(image.join("srv/sub")).unwrap();
    fs::write(image.join("srv/sub/file"), "text").unwrap();
    std::os::unix::fs::symlink("sub/file", image.join("srv/link")).unwrap();
    for (path, owner, mode) in [("srv", 7, 0o2750), ("srv/sub/file", 9, 0o640)] {
        let path = image.join(path);
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let of = |path: &std::path::Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (
            meta.uid(),
            meta.gid(),
            meta.mode(),
            meta.mtime(),
            meta.size(),
        )
    };
    let name = format!("dir:{}", image.display());
    // The command is not there: the volume is filled before that is found out.
    let output = runner.call("run", &["--rm", ALONE, "-v", "srv:/srv", &name, "/none"]);
    assert_eq!(output.code, 127, "{output}");
    let copy = data(&runner, "srv");
    for path in ["sub/file", "link", "sub"] {
        let (copied, own) = (of(&copy.join(path)), of(&image.join("srv").join(path)));
        assert_eq!(copied.0, own.0, "{path}");
        assert_eq!((copied.1, copied.2), (own.1, own.2), "{path}");
        if path == "sub/file" {
            assert_eq!(copied.3, own.3, "{path}");
        }
    }
    assert_eq!((of(&copy).0, of(&copy).2), (7, 0o42750));
    // nocopy leaves it empty.
    runner.call(
        "run",
        &["--rm", ALONE, "-v", "none:/srv:nocopy", &name, "/none"],
    );
    assert_eq!(fs::read_dir(data(&runner, "none")).unwrap().count(), 0);
}

#[test]
fn anonymous_volumes_go_with_rm_and_stay_without() {
    let runner = Runner::new();
    runner
        .debian(&[ALONE, "-v", "/cache"], "touch /cache/x")
        .ok();
    assert!(volumes(&runner).is_empty(), "--rm leaves it");
    let id = runner.detached(
        &[ALONE, "-v", "/cache", "-v", "kept:/kept"],
        "touch /cache/x",
    );
    let all = volumes(&runner);
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|name| name.len() == 64), "{all:?}");
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    runner.ok("rm", &["-v", &id]);
    assert_eq!(volumes(&runner), ["kept"]);
    let id = runner.detached(&[ALONE, "-v", "/cache"], "true");
    runner.wait_for(&id, "{{.State.Status}}", "exited");
    runner.ok("rm", &[&id]);
    assert_eq!(volumes(&runner).len(), 2);
    let said = runner.ok("volume", &["prune", "-f"]);
    assert!(said.starts_with("Deleted Volumes:\n"), "{said}");
    assert_eq!(volumes(&runner), ["kept"]);
    runner.ok("volume", &["prune", "-f", "-a"]);
    assert!(volumes(&runner).is_empty());
}

#[test]
fn volumes_of_another_container_live_while_anybody_refers_to_them() {
    let runner = Runner::new();
    // The classic manual's data volume container.
    let image = format!("dir:{}", debian().display());
    runner.ok(
        "run",
        &[
            ALONE,
            "-v",
            "/var/volume1",
            "-v",
            "two:/var/volume2",
            "--name=DATA",
            &image,
            "true",
        ],
    );
    runner.ok(
        "run",
        &[
            ALONE,
            "--name=client",
            "--volumes-from=DATA",
            &image,
            "sh",
            "-c",
            "echo hi >/var/volume1/f",
        ],
    );
    runner.ok("rm", &["-v", "DATA"]);
    assert_eq!(volumes(&runner).len(), 2, "the client refers to both");
    let flags = [ALONE, "--volumes-from", "client:ro"];
    let out = runner.debian(&flags, "cat /var/volume1/f; touch /var/volume2/x");
    assert_eq!(out.out(), "hi\n");
    assert!(out.err().contains("Read-only"), "{out}");
    let line = runner.call("volume", &["rm", "two"]).one_line_error(125);
    assert!(line.contains("in use"), "{line}");
    runner.ok("rm", &["-v", "client"]);
    assert_eq!(volumes(&runner), ["two"]);
    runner.ok("volume", &["rm", "two"]);
    runner.call("volume", &["rm", "two"]).one_line_error(125);
    runner.ok("volume", &["rm", "-f", "two"]);
}

#[test]
fn mount_says_the_same_in_other_words() {
    let runner = Runner::new();
    let shared = runner.scratch.dir("shared");
    fs::write(shared.join("f"), "text").unwrap();
    let bind = format!(
        "--mount=type=bind,source={},target=/b,readonly",
        shared.display()
    );
    let flags = [
        ALONE,
        &bind,
        "--mount=type=volume,src=web,dst=/v",
        "--mount=type=tmpfs,target=/t,tmpfs-size=64k,tmpfs-mode=700",
    ];
    let script = "cat /b/f; touch /b/x 2>/dev/null || echo ro; echo v >/v/v; stat -c %a /t; \
         head -c 100000 /dev/zero >/t/x 2>/dev/null || echo full";
    let out = runner.debian(&flags, script).ok();
    assert_eq!(out, "textro\n700\nfull\n");
    assert_eq!(volumes(&runner), ["web"]);
    let bad = runner.call(
        "run",
        &["--rm", "--mount=type=bind,target=/x", "host", "true"],
    );
    let line = bad.one_line_error(125);
    assert!(line.contains("source="), "{line}");
}

#[test]
fn inspect_and_lists_tell_them() {
    let runner = Runner::new();
    runner.ok("volume", &["create", "--label", "tier=db", "one"]);
    assert_eq!(runner.ok("volume", &["create", "two"]), "two");
    assert_eq!(runner.ok("volume", &["create", "two"]), "two");
    let id = runner.detached(&[ALONE, "-v", "one:/one:ro"], "true");
    let told = runner.inspect(
        &id,
        "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}",
    );
    assert_eq!(told, "volume one /one false");
    let list = |filter: &str| runner.ok("volume", &["ls", "-q", "--filter", filter]);
    assert_eq!(list("dangling=true"), "two");
    assert_eq!(list("dangling=false"), "one");
    assert_eq!(list("label=tier=db"), "one");
    assert_eq!(list("name=w"), "two");
    let table = runner.ok("volume", &["ls"]);
    assert!(
        table.starts_with("DRIVER    VOLUME NAME\nlocal     one\n"),
        "{table}"
    );
}

#[test]
fn bad_names_and_forms_are_one_line() {
    let runner = Runner::new();
    for volume in [
        "a/b:/x",
        "-x:/x",
        "x:",
        "x:y",
        "x:/y:frob",
        "x:/y:shared",
        "a:/b:c:d",
    ] {
        let output = runner.call("run", &["--rm", &format!("-v={volume}"), "host", "true"]);
        output.one_line_error(125);
    }
    runner
        .call("volume", &["create", "../x"])
        .one_line_error(125);
    runner
        .call("volume", &["inspect", "none"])
        .one_line_error(125);
    runner
        .call("run", &["--rm", "--volumes-from=none", "host", "true"])
        .one_line_error(125);
    assert!(volumes(&runner).is_empty(), "something was made");
}

#[test]
fn ten_containers_at_once_fill_it_once() {
    let runner = Runner::new();
    let image = format!("dir:{}", debian().display());
    let all: Vec<_> = (0..10)
        .map(|number| {
            let mut command = runner.command("run");
            let script = format!("ls /etc/apt | wc -l; touch /etc/apt/n{number}");
            command.args([
                "--rm",
                ALONE,
                "-v",
                "apt:/etc/apt",
                &image,
                "sh",
                "-c",
                &script,
            ]);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in all {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }
    let own = fs::read_dir(debian().join("etc/apt")).unwrap().count();
    let now = fs::read_dir(data(&runner, "apt")).unwrap().count();
    assert_eq!(now, own + 10);
}
