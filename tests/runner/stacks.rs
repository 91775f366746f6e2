//! Merged indexes of an image's layers: made, used, done without, and gone with the image.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tests::container::Runner;
use tests::layers::Layer;

/// What a container tells of its tree: types, inode numbers, link counts, owners, contents.
const TREE: &str = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o \
    -printf '%y %i %n %U %m %s %p\\n' | grep -v ' /etc/\\(hosts\\|hostname\\|resolv.conf\\)$' | sort; \
    cat /data/*";

/// A runner with the image `many`: Debian's root and five layers on top.
fn many() -> Runner {
    let runner = Runner::new();
    let root = tools::testroot::provide().unwrap().tar;
    runner.ok("import", &[root.to_str().unwrap(), "debian"]);
    let context = runner.scratch.dir("context");
    let mut file = "FROM debian\n".to_owned();
    for number in 0..5 {
        let name = format!("tree{number}");
        Layer::new()
            .file(format!("data/{number}"), format!("{number}\n"))
            .file("data/all", format!("of {number}\n"))
            .write(context.join(&name));
        file += &format!("COPY {name} /\n");
    }
    fs::write(context.join("Dockerfile"), file).unwrap();
    runner.ok("build", &["-q", "-t", "many", context.to_str().unwrap()]);
    // Built, its layers are few enough to lie loose.
    assert_eq!(stacks(&runner), Vec::<PathBuf>::new());
    let archive = runner.scratch.join("many.tar");
    let archive = archive.to_str().unwrap();
    runner.ok("save", &["-o", archive, "many"]);
    runner.ok("rmi", &["many"]);
    runner.ok("load", &["-i", archive]);
    runner
}

/// The merged indexes.
fn stacks(runner: &Runner) -> Vec<PathBuf> {
    let entries = fs::read_dir(runner.state().join("stacks")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The lowers that the file system processes of this runner have open.
fn mounted(runner: &Runner) -> BTreeSet<String> {
    let state = format!("{}/", runner.state().display());
    let mut found = BTreeSet::new();
    for (pid, _) in tools::leaks::processes_naming(&state) {
        let fds = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        for target in fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()) {
            let name = target.to_string_lossy().into_owned();
            let name = name.trim_end_matches(" (deleted)");
            if name.ends_with(".idx") {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn what_is_loaded_is_mounted_as_one() {
    let runner = many();
    let stack = stacks(&runner);
    assert_eq!(stack.len(), 1, "{stack:?}");
    let verify = tests::packs::layerfs(&["verify".as_ref(), stack[0].as_path()]);
    verify.ok();

    // The chain id, by which another tool would know it.
    let id = runner.ok("images", &["-q", "--no-trunc", "many"]);
    let config = runner.state().join("images");
    let config =
        fs::read(config.join(format!("{}.json", id.trim_start_matches("sha256:")))).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
    let ids = ids.map(|id| id.as_str().unwrap().to_owned());
    let above =
        |chain: String, id: String| tests::registry::digest(format!("{chain} {id}").as_bytes());
    let chain = ids.reduce(above).unwrap();
    let name = format!("{}.idx", chain.trim_start_matches("sha256:"));
    assert!(stack[0].ends_with(&name), "{stack:?} {name}");

    let sleep = ["-d", "--name", "one", "many", "sleep", "600"];
    runner.ok("run", &sleep);
    assert_eq!(mounted(&runner).len(), 1, "the index is not mounted");
    let with = runner.ok("exec", &["one", "sh", "-c", TREE]);
    assert!(
        with.ends_with("0\n1\n2\n3\n4\nof 4"),
        "{}",
        &with[with.len() - 100..]
    );
    let change = "echo more >> /data/1; rm /data/2; mv /usr/share/doc /doc; ln /data/3 /data/4b; chmod 600 /data/4";
    runner.ok("exec", &["one", "sh", "-c", change]);
    let changed = runner.ok("exec", &["one", "sh", "-c", TREE]);
    let diff = runner.ok("diff", &["one"]);

    // Without it the container is the same, to the inode number.
    runner.ok("stop", &["-t", "0", "one"]);
    assert_eq!(runner.ok("diff", &["one"]), diff);
    fs::remove_file(&stack[0]).unwrap();
    assert_eq!(runner.ok("diff", &["one"]), diff);
    runner.ok("start", &["one"]);
    assert_eq!(mounted(&runner).len(), 0);
    assert!(runner.ok("exec", &["one", "sh", "-c", TREE]) == changed);
    let plain = runner.ok("run", &["--rm", "many", "sh", "-c", TREE]);
    assert!(plain == with, "another tree without the index");
    runner.ok("rm", &["-f", "one"]);
}

#[test]
fn a_broken_index_is_done_without_and_found() {
    let runner = many();
    let stack = stacks(&runner);
    let wanted = runner.ok("run", &["--rm", "many", "sh", "-c", TREE]);
    let bytes = fs::read(&stack[0]).unwrap();
    fs::write(&stack[0], &bytes[..bytes.len() / 2]).unwrap();
    assert!(runner.ok("run", &["--rm", "many", "sh", "-c", TREE]) == wanted);
    let found = runner.call("system", &["check"]);
    assert_eq!(found.code, 1, "{found}");
    assert!(found.out().contains("stack-damaged"), "{found}");
    runner.call("system", &["check", "--repair"]);
    assert_eq!(stacks(&runner).len(), 0);
    runner.ok("system", &["check"]);
    let archive = runner.scratch.join("many.tar");
    runner.ok("load", &["-i", archive.to_str().unwrap()]);
    assert_eq!(stacks(&runner), stack);
    assert!(fs::read(&stack[0]).unwrap() == bytes);
}

/// Ten commits on one another: the index is made anew now and then, and goes when nobody needs it.
#[test]
fn commits_lie_loose_until_they_are_many() {
    let runner = many();
    let first = stacks(&runner);
    for number in 0..10 {
        let from = match number {
            0 => "many".to_owned(),
            _ => format!("step{}", number - 1),
        };
        let script = format!("echo {number} > /data/step{number}");
        runner.ok("run", &["--name", "step", &from, "sh", "-c", &script]);
        runner.ok("commit", &["step", &format!("step{number}")]);
        runner.ok("rm", &["step"]);
        assert_eq!(
            stacks(&runner).len(),
            if number < 8 { 1 } else { 2 },
            "{number}"
        );
    }
    let said = runner.ok("run", &["--rm", "step9", "sh", "-c", "cat /data/step*"]);
    assert_eq!(said, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9");
    // That of `many` is also the beginning of its children.
    runner.ok("rmi", &["many"]);
    assert_eq!(stacks(&runner).len(), 2);
    for number in 0..9 {
        runner.ok("rmi", &[&format!("step{number}")]);
    }
    assert_eq!(stacks(&runner).len(), 2);
    assert!(stacks(&runner).contains(&first[0]));
    runner.ok("rmi", &["step9"]);
    assert_eq!(stacks(&runner), Vec::<PathBuf>::new());
}
