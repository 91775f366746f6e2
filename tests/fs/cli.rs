//! The `layerfs` command: its forms, what it leaves, and its answers to bad input.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::layers::Layer;
use tests::mounts::{Mount, Union, is_mounted, mount_line};
use tests::process::{NO_FUSE, Output, Running, run, wait_until};
use tests::programs;
use tests::scratch::Scratch;
use tests::stage::{Stage, code};
use tests::sys;

fn layerfs(args: &[&str]) -> Output {
    run(Command::new(programs::layerfs()).args(args))
}

fn setting() -> (Scratch, Union) {
    let scratch = Scratch::new();
    let lower = Layer::new().file("f", "f").write(scratch.join("lower"));
    let union =
        Union::of(&[lower], scratch.dir("merged")).upper(scratch.dir("upper"), scratch.dir("work"));
    (scratch, union)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_mount_shows_as_fuse_layerfs_with_suid_and_dev() {
    let stage = Stage::new(&[Layer::new().file("f", "f")]);
    let line = mount_line(&stage.union.point);
    assert!(line.contains(" - fuse.layerfs layerfs "), "{line}");
    let options = line.split(' ').nth(5).unwrap().to_owned();
    assert!(options.split(',').any(|o| o == "rw"), "{line}");
    assert!(
        !options.contains("nosuid") && !options.contains("nodev"),
        "{line}"
    );
    assert!(
        line.contains("default_permissions") && line.contains("allow_other"),
        "{line}"
    );
    // And a device works.
    let path = stage.m("null");
    tests::process::call("mknod", &[text(&path), "c", "1", "3"]).ok();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn mount_options_are_honoured() {
    for (option, wanted) in [
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("ro", "ro"),
    ] {
        let (_scratch, union) = setting();
        let mount = union.option(option).layerfs();
        let line = mount_line(mount.path());
        let options = line.split(' ').nth(5).unwrap();
        assert!(options.split(',').any(|o| o == wanted), "{option}: {line}");
        mount.unmount();
    }
    let (_scratch, union) = setting();
    let mount = union.option("nodev").layerfs();
    let path = mount.join("null");
    tests::process::call("mknod", &[text(&path), "c", "1", "3"]).ok();
    assert_eq!(
        fs::read(&path).unwrap_err().raw_os_error(),
        Some(libc::EACCES)
    );
    mount.unmount();
}

#[test]
fn fsname_can_be_chosen() {
    let (_scratch, union) = setting();
    let mount = union.option("fsname=my-root").layerfs();
    let line = mount_line(mount.path());
    assert!(line.contains(" - fuse.layerfs my-root "), "{line}");
    mount.unmount();
}

#[test]
fn the_drop_in_form_of_fuse_overlayfs() {
    let (scratch, union) = setting();
    let data = union.overlay_data();
    let mut command = Command::new(programs::layerfs());
    run(command.arg("-o").arg(&data).arg(&union.point)).ok();
    let mount = Mount::adopt(&union.point);
    fs::write(mount.join("g"), "g").unwrap();
    mount.unmount();
    assert_eq!(fs::read(scratch.join("upper/g")).unwrap(), b"g");
    // By name, with options that container engines pass.
    let name = scratch.join("fuse-overlayfs");
    symlink(programs::layerfs(), &name).unwrap();
    let mut data = data;
    data.push(",volatile,noacl");
    let output = run(Command::new(&name).arg("-o").arg(&data).arg(&union.point));
    assert_eq!(output.code, 0, "{output}");
    let mount = Mount::adopt(&union.point);
    assert_eq!(fs::read(mount.join("g")).unwrap(), b"g");
    mount.unmount();
}

#[test]
fn the_drop_in_form_escapes_colons_and_commas() {
    let scratch = Scratch::new();
    let odd = scratch.dir("a:b,c\\d");
    for name in ["one:", "two,", "up:,", "work", "point"] {
        scratch.dir(odd.join(name));
    }
    fs::write(odd.join("one:/f"), "1").unwrap();
    fs::write(odd.join("two,/g"), "2").unwrap();
    let union = Union::of(&[odd.join("one:"), odd.join("two,")], odd.join("point"))
        .upper(odd.join("up:,"), odd.join("work"));
    let mut command = Command::new(programs::layerfs());
    run(command
        .arg("-o")
        .arg(union.overlay_data())
        .arg(&union.point))
    .ok();
    let mount = Mount::adopt(&union.point);
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"1");
    assert_eq!(fs::read(mount.join("g")).unwrap(), b"2");
    fs::write(mount.join("h"), "3").unwrap();
    mount.unmount();
    assert_eq!(fs::read(odd.join("up:,/h")).unwrap(), b"3");
}

#[test]
fn mount_returns_when_it_serves_and_leaves_the_terminal() {
    let (_scratch, union) = setting();
    for _ in 0..5 {
        // `run` panics if the daemon keeps our pipes open.
        let mount = union.layerfs();
        assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
        for pid in mount.daemons() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let session = stat
                .rsplit(") ")
                .next()
                .unwrap()
                .split(' ')
                .nth(3)
                .unwrap()
                .to_owned();
            assert_eq!(
                session,
                pid.to_string(),
                "the daemon has no session of its own"
            );
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
            assert_eq!(cwd, Path::new("/"));
        }
        mount.unmount();
    }
}

#[test]
fn foreground_serves_until_a_signal_and_unmounts_at_its_end() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let (_scratch, union) = setting();
        let union = union.flag("-f");
        let mut running = Running::start(&mut union.layerfs_command());
        assert!(wait_until(Duration::from_secs(120), || is_mounted(
            &union.point
        )));
        assert_eq!(fs::read(union.point.join("f")).unwrap(), b"f");
        fs::write(union.point.join("g"), "g").unwrap();
        running.signal(signal);
        running.wait(Duration::from_secs(10));
        assert!(!is_mounted(&union.point), "still mounted after {signal:?}");
    }
    let (_scratch, union) = setting();
    let union = union.flag("-f");
    let mut running = Running::start(&mut union.layerfs_command());
    assert!(wait_until(Duration::from_secs(120), || is_mounted(
        &union.point
    )));
    layerfs(&["unmount", text(&union.point)]).ok();
    assert_eq!(
        running.wait(Duration::from_secs(10)),
        0,
        "a clean end after unmount"
    );
}

#[test]
fn a_daemon_that_was_killed_loses_nothing_completed() {
    let mut stage = Stage::new(&[Layer::new()
        .file("f", "f")
        .file("gone", "1")
        .file("tree/a", "a")
        .file("large", vec![5; 1 << 20])]);
    stage.both(|root| {
        fs::write(root.join("new"), "new").unwrap();
        fs::write(root.join("f"), "changed").unwrap();
        fs::remove_file(root.join("gone")).unwrap();
        fs::rename(root.join("tree"), root.join("moved")).unwrap();
        fs::set_permissions(root.join("large"), PermissionsExt::from_mode(0o600)).unwrap();
    });
    let mount = stage.take_mount();
    mount.kill_daemon();
    assert!(
        is_mounted(&stage.union.point),
        "a dead mount stays until it is unmounted"
    );
    layerfs(&["unmount", text(&stage.union.point)]).ok();
    assert!(!is_mounted(&stage.union.point));
    drop(mount);
    stage.mount_again();
    stage.same("after kill -9 and a remount");
    stage.same_after_remount();
}

#[test]
fn a_daemon_killed_in_the_middle_of_work_leaves_a_whole_tree() {
    let mut layer = Layer::new();
    for i in 0..60 {
        layer = layer
            .file(format!("d/f{i}"), vec![b'x'; 20_000])
            .mode(0o640);
    }
    for round in 0..8 {
        let mut stage = Stage::new(std::slice::from_ref(&layer));
        let point = stage.union.point.clone();
        let worker = std::thread::spawn(move || {
            for i in 0..60 {
                let path = point.join(format!("d/f{i}"));
                let append = fs::OpenOptions::new().append(true).open(&path);
                if append
                    .and_then(|mut f| std::io::Write::write_all(&mut f, b"!"))
                    .is_err()
                {
                    break;
                }
                if i % 3 == 0 && fs::rename(&path, point.join(format!("r{i}"))).is_err() {
                    break;
                }
            }
        });
        std::thread::sleep(Duration::from_millis(3 + round * 4));
        let mount = stage.take_mount();
        mount.kill_daemon();
        worker.join().unwrap();
        layerfs(&["unmount", text(&stage.union.point)]).ok();
        drop(mount);
        stage.mount_again();
        for i in 0..60 {
            let places = [stage.m(format!("d/f{i}")), stage.m(format!("r{i}"))];
            let found: Vec<_> = places.iter().filter(|p| p.exists()).collect();
            assert_eq!(found.len(), 1, "round {round}: f{i} is at {found:?}");
            let content = fs::read(found[0]).unwrap();
            assert!(
                content.starts_with(&[b'x'; 20_000]),
                "round {round}: f{i} lost its content"
            );
            assert!(content.len() <= 20_001);
            let mode = fs::metadata(found[0]).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o640, "round {round}: f{i}");
        }
    }
}

#[test]
fn a7_a_remount_makes_it_read_only_and_writable_again() {
    let stage = Stage::new(&[Layer::new().file("f", "f")]);
    let point = text(stage.mount().path());
    let remount = |options| layerfs(&["-o", options, point]);
    remount("remount,ro").ok();
    assert!(mount_line(stage.mount().path()).contains(" ro,"));
    assert_eq!(code(fs::write(stage.m("f"), "g")), Err(libc::EROFS));
    assert_eq!(code(fs::remove_file(stage.m("f"))), Err(libc::EROFS));
    // As mount(8) calls its helpers: with all that /proc/mounts shows.
    remount("rw,relatime,remount,user_id=0,group_id=0,default_permissions,allow_other").ok();
    fs::write(stage.m("f"), "g").unwrap();
    let open = fs::File::options().write(true).open(stage.m("f")).unwrap();
    let error = layerfs(&["mount", "-o", "remount,ro", point]).one_line_error(1);
    assert!(error.contains("busy"), "{error}");
    drop(open);
    let elsewhere = text(stage.scratch.path());
    let error = layerfs(&["mount", "-o", "remount,ro", elsewhere]).one_line_error(1);
    assert!(error.contains("not a mount point"), "{error}");
}

#[test]
fn unmount_says_what_is_wrong() {
    let (scratch, union) = setting();
    let refuse = |path: &Path| {
        let output = layerfs(&["unmount", text(path)]);
        assert_ne!(output.code, 0, "{output}");
        output.one_line_error(output.code)
    };
    refuse(&union.point);
    refuse(&scratch.join("missing"));
    let tmpfs = scratch.tmpfs("tmpfs", "1m");
    refuse(&tmpfs);
    assert!(is_mounted(&tmpfs), "a foreign mount was taken down");
    // Busy: a clear error, and the mount still works.
    let mount = union.layerfs();
    let open = fs::File::open(mount.join("f")).unwrap();
    let line = refuse(&union.point);
    assert!(line.contains("busy") || line.contains("in use"), "{line}");
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
    drop(open);
    mount.unmount();
}

#[test]
fn help_and_version() {
    for args in [
        &["--help"][..],
        &["mount", "--help"],
        &["unmount", "--help"],
    ] {
        let help = layerfs(args).ok();
        assert!(help.contains("Usage"), "{help}");
    }
    assert!(
        layerfs(&["mount", "--help"])
            .ok()
            .contains("layerfs mount --lower"),
        "no example"
    );
    assert!(layerfs(&["--version"]).ok().starts_with("layerfs "));
}

/// Exit code ≠ 0, one line, nothing mounted.
#[track_caller]
fn refused(union: &Union, wanted: &str) {
    let output = union.try_layerfs();
    assert_ne!(output.code, 0, "accepted: {output}");
    let line = output.one_line_error(output.code);
    let low = line.to_lowercase();
    assert!(
        low.contains(&wanted.to_lowercase()),
        "says nothing of {wanted:?}: {line}"
    );
    assert!(!is_mounted(&union.point), "left mounted");
}

#[test]
fn bad_mount_points() {
    let (scratch, union) = setting();
    let at = |point: PathBuf| Union {
        point,
        ..union.clone()
    };
    refused(&at(scratch.join("missing")), "missing");
    fs::write(scratch.join("file"), "").unwrap();
    refused(&at(scratch.join("file")), "directory");
    // Busy: one that is a layerfs mount of the same upper, see below; and a directory in use is
    // fine for the kernel, a second mount on it is not asked for by mistake.
    let mount = union.layerfs();
    let other = Union::of(&union.lowers, &union.point);
    let output = other.try_layerfs();
    assert_ne!(output.code, 0, "mounted twice on one point: {output}");
    output.one_line_error(output.code);
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
    mount.unmount();
    assert!(!is_mounted(&union.point));
}

#[test]
fn bad_layers() {
    let (scratch, union) = setting();
    fs::write(scratch.join("file"), "").unwrap();
    let with = |lower: PathBuf| Union {
        lowers: vec![lower],
        ..union.clone()
    };
    refused(&with(scratch.join("missing")), "missing");
    refused(&with(scratch.join("file")), "directory");
    let upper = |u: PathBuf, w: PathBuf| union.clone().upper(u, w);
    refused(
        &upper(scratch.join("missing"), scratch.join("work")),
        "missing",
    );
    refused(
        &upper(scratch.join("upper"), scratch.join("missing")),
        "missing",
    );
    refused(
        &upper(scratch.join("file"), scratch.join("work")),
        "directory",
    );
    let tmpfs = scratch.tmpfs("tmpfs", "1m");
    refused(&upper(scratch.join("upper"), tmpfs), "file system");
    refused(&upper(scratch.join("upper"), scratch.join("upper")), "");
    refused(
        &Union {
            lowers: vec![],
            ..union.clone()
        },
        "lower",
    );
}

#[test]
fn upper_without_work_and_work_without_upper() {
    let (scratch, union) = setting();
    let [lower, upper, work] =
        ["lower", "upper", "work"].map(|n| text(&scratch.join(n)).to_owned());
    let point = text(&union.point);
    for args in [
        vec!["mount", "--lower", &lower, "--upper", &upper, point],
        vec!["mount", "--lower", &lower, "--work", &work, point],
        vec!["mount", point],
        vec!["mount", "--lower", &lower],
        vec!["mount", "--lower", &lower, "--nonsense", point],
        vec!["mount", "--lower", &lower, "-o", "nonsense", point],
        vec!["mount", "--lower", &lower, "-o", "metacopy=perhaps", point],
        vec!["-o", "upperdir=/x", point],
        vec!["-o", "lowerdir=", point],
        vec!["nonsense"],
        vec!["unmount"],
    ] {
        let output = layerfs(&args);
        assert_ne!(output.code, 0, "{output}");
        output.one_line_error(output.code);
        assert!(!is_mounted(&union.point));
    }
}

#[test]
fn an_upper_or_work_in_use_is_refused() {
    let (scratch, union) = setting();
    let mount = union.layerfs();
    let second = Union {
        point: scratch.dir("second"),
        ..union.clone()
    };
    refused(&second, "use");
    refused(
        &second
            .clone()
            .upper(scratch.dir("upper2"), scratch.join("work")),
        "use",
    );
    refused(
        &second
            .clone()
            .upper(scratch.join("upper"), scratch.dir("work2")),
        "use",
    );
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
    mount.unmount();
    second.layerfs().unmount();
}

#[test]
fn a_lower_with_redirect_or_metacopy_at_its_top_is_refused() {
    for space in ["trusted", "user"] {
        for (mark, value) in [("redirect", &b"/other"[..]), ("metacopy", b"")] {
            let (scratch, mut union) = setting();
            scratch.dir("lower/d");
            // In a bottom layer a redirect has nowhere to lead.
            union.lowers.push(scratch.dir("bottom"));
            let on = union.lowers[0].join(if mark == "redirect" { "d" } else { "f" });
            sys::set_xattr(&on, format!("{space}.overlay.{mark}").as_bytes(), value).unwrap();
            refused(&union, mark);
        }
    }
}

#[test]
fn without_fuse_or_rights() {
    let (_scratch, union) = setting();
    // No /dev/fuse: in a mount name space of its own with an empty /dev.
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", NO_FUSE, "sh"]);
    let inner = union.layerfs_command();
    let output = run(command.arg(inner.get_program()).args(inner.get_args()));
    assert_ne!(output.code, 0);
    let line = output.one_line_error(output.code);
    assert!(line.contains("/dev/fuse"), "{line}");
    // Not root. The program may lie where Alice cannot go: give her a copy.
    let copy = union.point.with_extension("layerfs");
    fs::copy(programs::layerfs(), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=40001", "--regid=40001", "--clear-groups", "--"])
        .arg(&copy);
    let output = run(command.args(inner.get_args()));
    assert_ne!(output.code, 0);
    let line = output.one_line_error(output.code);
    assert!(
        line.contains("root") || line.to_lowercase().contains("permi"),
        "{line}"
    );
    assert!(!is_mounted(&union.point));
}

#[test]
fn volatile_leaves_a_mark_after_a_crash_and_none_after_a_clean_end() {
    let (_scratch, union) = setting();
    let union = union.flag("--volatile");
    union.layerfs().unmount();
    let mount = union.layerfs();
    fs::write(mount.join("g"), "g").unwrap();
    mount.kill_daemon();
    layerfs(&["unmount", text(&union.point)]).ok();
    drop(mount);
    refused(&union, "volatile");
}

#[test]
fn a_mount_point_that_is_a_symlink_is_the_directory_it_names() {
    let (scratch, union) = setting();
    symlink(&union.point, scratch.join("alias")).unwrap();
    let aliased = Union {
        point: scratch.join("alias"),
        ..union.clone()
    };
    run(&mut aliased.layerfs_command()).ok();
    let mount = Mount::adopt(&union.point);
    assert!(is_mounted(&union.point));
    layerfs(&["unmount", text(&aliased.point)]).ok();
    assert!(!is_mounted(&union.point));
    drop(mount);
}
