//! A disk that is full in the middle of a command: one line says so, nothing is published, and what was
//! written is free again.

use std::fs;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tests::container::Runner;
use tests::layers::Layer;
use tests::process::run;
use tests::registry::Registry;

/// Bytes that the root has room for.
const ROOM: usize = 16 << 20;

/// A root directory on a small file system of its own.
struct Small {
    runner: Runner,
}

impl Small {
    fn new() -> Self {
        let runner = Runner::new();
        fs::create_dir(runner.state()).unwrap();
        let options = std::ffi::CString::new(format!("size={ROOM},mode=700")).unwrap();
        mount(
            "small",
            runner.state(),
            "tmpfs",
            MountFlags::empty(),
            &*options,
        )
        .unwrap();
        Self { runner }
    }

    /// Bytes that are taken.
    fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.runner.state()).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    /// The command finds the disk full, and nothing of it stays.
    #[track_caller]
    fn fails(&self, verb: &str, args: &[&str]) {
        let shown = || {
            let images = self.runner.ok("images", &["-a", "--no-trunc"]);
            images + &self.runner.ok("ps", &["-aq"])
        };
        let (before, used) = (shown(), self.used());
        let said = self.runner.call(verb, args).one_line_error(125);
        assert!(said.contains("No space left on device"), "{said}");
        assert_eq!(shown(), before, "{said}");
        // Locks, journals and directories that are kept.
        let grown = self.used().saturating_sub(used);
        assert!(grown < 128 << 10, "{grown} bytes more are taken: {said}");
        self.runner.ok("system", &["check"]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.runner.clear();
        unmount(self.runner.state(), UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn nothing_half_is_left_of_what_did_not_fit() {
    let small = Small::new();
    let runner = &small.runner;
    let tree = |name: &str, bytes: usize| {
        // Not to be packed.
        let data: Vec<u8> = (0..bytes as u64)
            .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        Layer::new()
            .file("data", data)
            .write(runner.scratch.join(name))
    };
    let (little, large) = (tree("little", 2 << 20), tree("large", 2 * ROOM));
    let [little, large] = [&little, &large].map(|path| path.to_str().unwrap());
    let tar = runner.scratch.join("large.tar");
    let tar = tar.to_str().unwrap();
    run(Command::new("tar").args(["cf", tar, "-C", large, "."])).ok();
    let elsewhere = Runner::new();
    elsewhere.ok("import", &[large, "large"]);
    let saved = runner.scratch.join("saved.tar");
    elsewhere.ok("save", &["-o", saved.to_str().unwrap(), "large"]);
    let registry = Registry::start(&elsewhere.scratch, "");
    let name = format!("{}/large:v1", registry.host);
    elsewhere.ok("tag", &["large", &name]);
    elsewhere.ok("push", &["-q", &name]);

    runner.ok("import", &[little, "little"]);
    small.fails("import", &[tar, "large"]);
    small.fails("import", &[large, "large"]);
    small.fails("load", &["-i", saved.to_str().unwrap()]);
    small.fails("pull", &["-q", &name]);
    small.fails(
        "build",
        &["-q", "-f", "Dockerfile", "-t", "large", {
            fs::write(
                format!("{large}/Dockerfile"),
                "FROM little\nCOPY data /copied\n",
            )
            .unwrap();
            large
        }],
    );

    // What a container has changed takes more than half of the room.
    runner.ok("create", &["--name", "job", "little", "none"]);
    let container = &runner.containers()[0];
    let upper = runner
        .state()
        .join("containers")
        .join(container)
        .join("upper");
    fs::copy(runner.scratch.join("large.tar"), upper.join("part")).unwrap_err();
    fs::File::options()
        .write(true)
        .open(upper.join("part"))
        .unwrap()
        .set_len(9 << 20)
        .unwrap();
    small.fails("commit", &["job", "large"]);
    runner.ok("rm", &["job"]);
    // What fits goes on.
    runner.ok("import", &[little, "again"]);
}
