//! `run`: volumes, tmpfs, a read-only root, and what of the host is out of reach.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use tests::container::Runner;

#[test]
fn a_volume_is_the_hosts_directory_or_file() {
    let runner = Runner::new();
    let shared = runner.scratch.dir("shared");
    fs::write(shared.join("in"), "from the host").unwrap();
    let volume = format!("{}:/data", shared.display());
    let out = runner
        .sh(&["-v", &volume], "cat /data/in; echo back > /data/out")
        .ok();
    assert_eq!(out, "from the host");
    assert_eq!(fs::read_to_string(shared.join("out")).unwrap(), "back\n");
    let file = format!("{}:/etc/one-file", shared.join("in").display());
    assert_eq!(
        runner.sh(&["-v", &file], "cat /etc/one-file").ok(),
        "from the host"
    );
    // Where the image has no such directory, one is made in the container only.
    let deep = format!("{}:/not/there/yet", shared.display());
    runner.sh(&["-v", &deep], "test -f /not/there/yet/in").ok();
    assert!(!std::path::Path::new("/not/there").exists());
}

#[test]
fn a_read_only_volume_cannot_be_written_or_made_writable() {
    let runner = Runner::new();
    let shared = runner.scratch.dir("shared");
    let volume = format!("{}:/data:ro", shared.display());
    let output = runner.sh(&["-v", &volume], "echo x > /data/x");
    assert!(
        output.code != 0 && output.err().contains("Read-only"),
        "{output}"
    );
    let output = runner.sh(
        &["-v", &volume],
        "mount -o remount,rw /data; echo x > /data/x",
    );
    assert!(!shared.join("x").exists(), "{output}");
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
}

#[test]
fn a_missing_or_bad_volume_is_refused() {
    let runner = Runner::new();
    let missing = runner.scratch.join("missing");
    let line = runner
        .sh(&["-v", &format!("{}:/data", missing.display())], "true")
        .one_line_error(125);
    assert!(line.contains("missing"), "{line}");
    assert!(!missing.exists(), "the source was made");
    let there = runner.scratch.dir("there");
    let there = there.display();
    for bad in [
        format!("{there}:data"),
        format!("{there}:/data:nonsense"),
        format!("{there}:"),
        format!(":/{there}"),
    ] {
        runner.sh(&["-v", &bad], "true").one_line_error(125);
    }
}

#[test]
fn a_volumes_target_that_is_a_symlink_stays_inside() {
    let runner = Runner::new();
    let root = runner.scratch.dir("root");
    let outside = runner.scratch.dir("outside");
    for name in ["bin", "lib", "lib64", "usr"] {
        if std::path::Path::new("/").join(name).exists() {
            runner.scratch.dir(format!("root/{name}"));
        }
    }
    symlink(&outside, root.join("data")).unwrap();
    symlink("../../../../../../../../etc", root.join("up")).unwrap();
    let shared = runner.scratch.dir("shared");
    let image = format!("dir:{}", root.display());
    let before = fs::metadata("/etc").unwrap().mtime_nsec();
    for target in ["/data", "/up", "/data/deeper", "/up/deeper"] {
        let volumes = format!("{}:{target}", shared.display());
        let output = runner.run(&["-v", &volumes, &image, "/nothing"]);
        assert!([125, 127].contains(&output.code), "{output}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!std::path::Path::new("/etc/deeper").exists());
    assert_eq!(fs::metadata("/etc").unwrap().mtime_nsec(), before);
}

#[test]
fn tmpfs_is_empty_writable_and_limited() {
    let runner = Runner::new();
    let script =
        "ls -A /var/lib | wc -l; echo x > /var/lib/x; stat -f -c %T /var/lib; stat -c %a /var/lib";
    let out = runner.sh(&["--tmpfs", "/var/lib"], script).ok();
    assert!(out.starts_with("0\ntmpfs\n"), "{out}");
    let script = "dd if=/dev/zero of=/t/f bs=1M count=3 2>&1; stat -c '%a' /t";
    let out = runner
        .sh(&["--tmpfs", "/t:size=1m,mode=1700"], script)
        .out();
    assert!(
        out.contains("No space left") && out.ends_with("1700\n"),
        "{out}"
    );
    let out = runner
        .sh(
            &["--tmpfs", "/t:noexec"],
            "cp /bin/true /t/; /t/true; echo $?",
        )
        .out();
    assert_eq!(out, "126\n");
    runner
        .sh(&["--tmpfs", "/t:nonsense"], "true")
        .one_line_error(125);
}

#[test]
fn a_read_only_root_still_has_writable_places_that_were_asked_for() {
    let runner = Runner::new();
    let shared = runner.scratch.dir("shared");
    let volume = format!("{}:/mnt", shared.display());
    let script =
        "touch /x; touch /etc/x; touch /dev/shm/x && touch /tmp/x && touch /mnt/x && echo fine";
    let output = runner.sh(&["--read-only", "--tmpfs", "/tmp", "-v", &volume], script);
    assert!(
        output.out() == "fine\n" && output.err().matches("Read-only").count() == 2,
        "{output}"
    );
}

#[test]
fn the_hosts_files_survive_a_container_of_host() {
    let runner = Runner::new();
    let count = || fs::read_dir("/usr/share/doc").unwrap().count();
    let before = count();
    assert!(before > 10);
    let out = runner
        .sh(
            &[],
            "rm -rf /usr/share/doc; ls /usr/share/doc 2>/dev/null | wc -l",
        )
        .ok();
    assert_eq!(out, "0\n");
    assert_eq!(count(), before);
}

#[test]
fn two_containers_do_not_see_each_others_changes() {
    let runner = Runner::new();
    runner
        .sh(&[], "echo x > /made-here; rm /etc/hostname; true")
        .ok();
    let out = runner.sh(&[], "test -e /made-here || echo clean").ok();
    assert_eq!(out, "clean\n");
    assert!(!std::path::Path::new("/made-here").exists());
}
