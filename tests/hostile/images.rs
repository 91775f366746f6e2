//! Images whose own files are traps for the side that sets the container up.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tests::container::Runner;
use tests::process::{Output, run_with};
use tests::snapshot::{Snapshot, View};

/// A root with the machine's programs as links into a read-only volume is not needed: the traps
/// spring before any command runs. `/nothing` is asked for, so a good start ends with 127.
struct Trap {
    runner: Runner,
    root: PathBuf,
    bait: PathBuf,
    picture: Snapshot,
}

impl Trap {
    fn new() -> Self {
        let runner = Runner::new();
        let root = runner.scratch.dir("root");
        let bait = runner.scratch.dir("bait");
        for name in ["dev", "proc", "sys", "hosts", "etc", "sub"] {
            runner.scratch.dir(format!("bait/{name}"));
        }
        fs::write(bait.join("file"), "untouched").unwrap();
        let picture = Snapshot::of(&bait, &View::everything());
        Self {
            runner,
            root,
            bait,
            picture,
        }
    }

    fn run(&self, flags: &[&str]) -> Output {
        let image = format!("dir:{}", self.root.display());
        let mut command = self.runner.command("run");
        command.arg("--rm").args(flags).args([&image, "/nothing"]);
        // A fifo that is opened for reading would hang here.
        run_with(&mut command, b"", std::time::Duration::from_secs(20))
    }

    /// It starts (127: `/nothing` is not there) or is refused in one line; nothing outside changed.
    #[track_caller]
    fn harmless(&self, flags: &[&str]) {
        let output = self.run(flags);
        assert!([125, 127].contains(&output.code), "{output}");
        output.one_line_error(output.code);
        let now = Snapshot::of(&self.bait, &View::everything());
        self.picture.assert_same(&now, "the outside");
        self.runner.nothing_left();
    }
}

fn fifo(path: &Path) {
    tests::process::call("mkfifo", &[path.to_str().unwrap()]).ok();
}

#[test]
fn system_directories_that_are_symlinks() {
    for name in ["dev", "proc", "sys", "etc"] {
        for target in [
            "BAIT",
            "../../../../../../../../../BAIT",
            "/proc/1/root/BAIT",
            "/proc/self/cwd",
            name,
        ] {
            let trap = Trap::new();
            let bait = trap.bait.strip_prefix("/").unwrap().to_str().unwrap();
            let target = if target == "BAIT" {
                trap.bait.clone()
            } else {
                PathBuf::from(target.replace("BAIT", bait))
            };
            symlink(target, trap.root.join(name)).unwrap();
            trap.harmless(&[]);
        }
    }
}

#[test]
fn system_directories_that_are_files_or_fifos() {
    for name in ["dev", "proc", "sys", "etc"] {
        let trap = Trap::new();
        fs::write(trap.root.join(name), "a file").unwrap();
        trap.harmless(&[]);
        let trap = Trap::new();
        fifo(&trap.root.join(name));
        trap.harmless(&[]);
    }
}

#[test]
fn inner_mount_points_that_lead_out() {
    for name in [
        "dev/pts",
        "dev/shm",
        "dev/mqueue",
        "dev/null",
        "dev/console",
        "sys/fs/cgroup",
        "proc/sys",
    ] {
        let trap = Trap::new();
        let path = trap.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(&trap.bait, &path).unwrap();
        trap.harmless(&[]);
    }
}

#[test]
fn files_that_are_written_or_read_for_the_container() {
    for name in [
        "hosts",
        "hostname",
        "resolv.conf",
        "passwd",
        "group",
        "mtab",
    ] {
        for kind in ["symlink", "fifo", "directory", "loop", "device"] {
            let trap = Trap::new();
            fs::create_dir(trap.root.join("etc")).unwrap();
            let path = trap.root.join("etc").join(name);
            match kind {
                "symlink" => symlink(trap.bait.join("file"), &path).unwrap(),
                "fifo" => fifo(&path),
                "directory" => fs::create_dir(&path).unwrap(),
                "loop" => symlink(name, &path).unwrap(),
                _ => drop(
                    tests::process::call("mknod", &[path.to_str().unwrap(), "c", "1", "5"]).ok(),
                ),
            }
            trap.harmless(&["--hostname", "trap"]);
            trap.harmless(&["-u", "someone:somegroup"]);
        }
    }
}

#[test]
fn a_passwd_file_without_end_is_not_read_to_it() {
    let trap = Trap::new();
    fs::create_dir(trap.root.join("etc")).unwrap();
    let file = fs::File::create(trap.root.join("etc/passwd")).unwrap();
    file.set_len(1 << 40).unwrap();
    trap.harmless(&["-u", "someone", "-m", "64m"]);
    fs::write(
        trap.root.join("etc/passwd"),
        "someone:x:notanumber:0::/:\nsomeone:x:99999999999:0::/:\n:::\n",
    )
    .unwrap();
    trap.harmless(&["-u", "someone"]);
}

#[test]
fn work_directories_volumes_and_tmpfs_that_lead_out() {
    let trap = Trap::new();
    symlink(&trap.bait, trap.root.join("out")).unwrap();
    fifo(&trap.root.join("fifo"));
    symlink("loop", trap.root.join("loop")).unwrap();
    let source = trap.runner.scratch.dir("source");
    for place in ["/out", "/out/sub", "/out/new", "/fifo", "/fifo/x", "/loop"] {
        trap.harmless(&["-w", place]);
        trap.harmless(&["-v", &format!("{}:{place}", source.display())]);
        trap.harmless(&["--tmpfs", place]);
    }
    for name in ["out", "fifo", "loop"] {
        assert!(
            fs::symlink_metadata(trap.root.join(name)).is_ok(),
            "the image was written"
        );
    }
}

#[test]
fn commands_that_are_traps() {
    let trap = Trap::new();
    fifo(&trap.root.join("fifo"));
    symlink("/proc/self/exe", trap.root.join("exe")).unwrap();
    symlink("me", trap.root.join("me")).unwrap();
    fs::write(trap.root.join("script"), "#!/proc/self/exe\n").unwrap();
    tests::process::call(
        "chmod",
        &["755", trap.root.join("script").to_str().unwrap()],
    )
    .ok();
    let image = format!("dir:{}", trap.root.display());
    for command in ["/fifo", "/exe", "/me", "/script", "/proc/self/exe"] {
        let output = trap.runner.run(&[&image, command, "--version"]);
        assert_ne!(output.code, 0, "{output}");
        assert!(
            !output.out().contains("runner"),
            "our own program ran inside: {output}"
        );
    }
}
