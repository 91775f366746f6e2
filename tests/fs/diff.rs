//! `layerfs diff`: every path that changed is told, and nothing else.
//!
//! The truth is two pictures of the merged tree, before and after. What `diff` tells must explain one
//! from the other: each path of after is what it was, or told as new or changed; each path of before is
//! still there, or told as gone; and nothing told is untrue.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::layers::{Form, Layer};
use tests::mounts::Union;
use tests::operations::apply;
use tests::process::{Output, run};
use tests::programs;
use tests::scratch::Scratch;
use tests::sequences::{self, Random, World, count};
use tests::snapshot::{Snapshot, View};
use tests::stage::Stage;

fn command(upper: &Path, work: Option<&Path>, lowers: &[PathBuf]) -> Command {
    let mut command = Command::new(programs::layerfs());
    command.arg("diff").arg(upper);
    if let Some(work) = work {
        command.arg("--work").arg(work);
    }
    for lower in lowers {
        command.arg("--lower").arg(lower);
    }
    command
}

fn diff(union: &Union) -> Command {
    let (upper, work) = union.upper.as_ref().unwrap();
    command(upper, Some(work), &union.lowers)
}

fn json(output: &Output) -> Vec<Value> {
    let document: Value = serde_json::from_str(&output.ok()).unwrap();
    document["changes"].as_array().unwrap().clone()
}

/// A picture of a tree: the line of every path (times of directories apart), and those times.
struct Picture {
    lines: BTreeMap<String, String>,
    times: BTreeMap<String, (i64, i64)>,
}

impl Picture {
    fn of(root: &Path) -> Self {
        let view = View {
            no_dir_times: true,
            no_links: true,
            ghosts: true,
            ..View::plain()
        };
        let snapshot = Snapshot::of(root, &view);
        let mut lines = BTreeMap::new();
        let mut times = BTreeMap::new();
        for name in snapshot.names() {
            let line = snapshot.get(&name).unwrap().to_owned();
            if line.starts_with('d') {
                let meta = fs::metadata(root.join(&name)).unwrap();
                times.insert(name.clone(), (meta.mtime(), meta.mtime_nsec()));
            }
            lines.insert(name, line);
        }
        // The root's time is the upper's own.
        times.remove(".");
        Self { lines, times }
    }
}

/// What `diff` told, by path.
#[derive(Default)]
struct Told {
    /// Paths with new objects.
    new: BTreeSet<String>,
    /// To, from.
    renamed: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    /// `content` or `metadata`.
    touched: BTreeMap<String, String>,
    /// Told as added, not as replaced or retyped.
    added: BTreeSet<String>,
    /// Told with a time.
    timed: BTreeSet<String>,
}

impl Told {
    fn read(changes: &[Value]) -> Self {
        let mut told = Self::default();
        for change in changes {
            let text = |key: &str| change[key].as_str().map(str::to_owned);
            let path = text("path").unwrap_or_else(|| panic!("without a path: {change}"));
            match change["change"].as_str().unwrap() {
                "deleted" => drop(told.deleted.insert(path.clone())),
                "renamed" => {
                    let from = text("from").unwrap();
                    assert!(
                        told.renamed.insert(path.clone(), from).is_none(),
                        "{change}"
                    );
                }
                "changed" => assert!(change["touched"].is_string(), "{change}"),
                "added" => {
                    told.added.insert(path.clone());
                    assert!(told.new.insert(path.clone()), "told twice: {change}");
                }
                "replaced" | "retyped" => {
                    assert!(told.new.insert(path.clone()), "told twice: {change}");
                }
                other => panic!("{other}: {change}"),
            }
            if let Some(touched) = text("touched") {
                assert!(
                    told.touched.insert(path.clone(), touched).is_none(),
                    "told twice: {change}"
                );
            }
            if change["modified"].is_object() {
                told.timed.insert(path);
            }
        }
        told
    }

    /// Where the object at a path of after was before; `None`: it is told as new, or below such.
    fn source(&self, path: &str) -> Option<String> {
        let mut at = path;
        loop {
            if let Some(from) = self.renamed.get(at) {
                return Some(format!("{from}{}", &path[at.len()..]));
            }
            if self.new.contains(at) {
                return None;
            }
            match at.rsplit_once('/') {
                Some((above, _)) => at = above,
                None => return Some(path.to_owned()),
            }
        }
    }

    /// Where the place of a path of before is now, by the renames of what is above it.
    fn place(&self, path: &str) -> String {
        let moved: BTreeMap<&str, &str> = self
            .renamed
            .iter()
            .map(|(to, from)| (&**from, &**to))
            .collect();
        let mut at = path;
        loop {
            if let Some(to) = moved.get(at) {
                return format!("{to}{}", &path[at.len()..]);
            }
            match at.rsplit_once('/') {
                Some((above, _)) => at = above,
                None => return path.to_owned(),
            }
        }
    }
}

fn self_and_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |at| at.rsplit_once('/').map(|(above, _)| above))
}

fn content(line: &str) -> String {
    let of_content = |word: &&str| {
        ["sha=", "size=", "rdev=", "->"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
            || word.starts_with('"')
    };
    let words: Vec<_> = line.split(' ').filter(of_content).collect();
    format!("{}{}", &line[..1], words.join(" "))
}

/// All that `changes` does not explain, as text.
fn unexplained(before: &Picture, after: &Picture, changes: &[Value]) -> Vec<String> {
    let told = Told::read(changes);
    let mut faults = Vec::new();
    let mut reached = BTreeSet::new();
    for (path, line) in &after.lines {
        let new_itself = told.new.contains(path);
        let Some(source) = told.source(path) else {
            if !new_itself {
                faults.push(format!("{path}: below something new, and not told"));
            }
            continue;
        };
        reached.insert(source.clone());
        let Some(was) = before.lines.get(&source) else {
            faults.push(format!(
                "{path}: was not there (as {source}), and is not told"
            ));
            continue;
        };
        let wanted = match (was == line, content(was) == content(line)) {
            (true, _) => None,
            (_, true) => Some("metadata"),
            _ => Some("content"),
        };
        let found = told.touched.get(path).map(String::as_str);
        // The same object, but for its time: told for directories by their own rule.
        let timed = told.timed.contains(path) && line.starts_with('d');
        if wanted != found && !(wanted.is_none() && timed) {
            faults.push(format!(
                "{path}: told {found:?}, wanted {wanted:?}\n  was {was}\n  is  {line}"
            ));
        }
        if line.starts_with('d') && source != "." {
            let (was, is) = (before.times.get(&source), after.times.get(path));
            let stirred = changes.iter().any(|change| {
                let at = change["path"].as_str().unwrap();
                let at = if change["change"] == "deleted" {
                    told.place(at)
                } else {
                    at.to_owned()
                };
                let from = change["from"]
                    .as_str()
                    .map(|from| told.place_of_parent(from));
                let parent = at.rsplit_once('/').map_or("", |(above, _)| above);
                parent == path || from.as_deref() == Some(path)
            });
            match (was == is, timed) {
                (true, true) => faults.push(format!("{path}: its time is told and the same")),
                (false, false) if !stirred => faults.push(format!("{path}: its time is not told")),
                _ => {}
            }
        }
    }
    for path in before.lines.keys() {
        if reached.contains(path) {
            if told.deleted.contains(path) {
                faults.push(format!("{path}: told as deleted, and still there"));
            }
            continue;
        }
        let place = told.place(path);
        let gone = self_and_above(path).any(|at| told.deleted.contains(at));
        let covered =
            self_and_above(&place).any(|at| told.new.contains(at) || told.renamed.contains_key(at));
        if !gone && !covered {
            faults.push(format!("{path}: is gone, and not told"));
        }
    }
    faults.extend(untrue(before, after, &told));
    faults
}

impl Told {
    /// The directory, as it is called now, out of which something was renamed.
    fn place_of_parent(&self, from: &str) -> String {
        match from.rsplit_once('/') {
            Some((above, _)) => self.place(above),
            None => ".".to_owned(),
        }
    }
}

/// What is told and cannot be true.
fn untrue(before: &Picture, after: &Picture, told: &Told) -> Vec<String> {
    let mut faults = Vec::new();
    for path in told.new.iter().chain(told.renamed.keys()) {
        if !after.lines.contains_key(path) {
            faults.push(format!("{path}: told as new, and not there"));
        }
    }
    for path in told.deleted.iter().chain(told.renamed.values()) {
        if !before.lines.contains_key(path) {
            faults.push(format!("{path}: told as gone, and was not there"));
        }
    }
    for path in told.touched.keys() {
        if !after.lines.contains_key(path) {
            faults.push(format!("{path}: told as changed, and not there"));
        }
    }
    for path in &told.added {
        let moved = self_and_above(path).any(|at| told.renamed.values().any(|from| from == at));
        let below_new = self_and_above(path)
            .skip(1)
            .any(|at| told.new.contains(at) || told.renamed.contains_key(at));
        if before.lines.contains_key(path) && !moved && !below_new {
            faults.push(format!(
                "{path}: told as added, and took the place of something"
            ));
        }
    }
    faults
}

#[track_caller]
fn assert_explained(before: &Picture, after: &Picture, output: &Output, what: &str) {
    let changes = json(output);
    let faults = unexplained(before, after, &changes);
    assert!(
        faults.is_empty(),
        "{what}\n{}\n--- told\n{}",
        faults.join("\n"),
        changes
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

/// Random operations through a mount of layers; what the lowers alone show is before.
fn random_session(seed: u64, world: World, mount: impl Fn(&Union) -> tests::mounts::Mount) {
    let mut random = Random::new(seed);
    let scratch = Scratch::new();
    let lowers: Vec<_> = sequences::layers(&mut random, world)
        .iter()
        .enumerate()
        .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
        .collect();
    let union =
        Union::of(&lowers, scratch.dir("merged")).upper(scratch.dir("upper"), scratch.dir("work"));
    let mounted = mount(&union);
    let before = Picture::of(mounted.path());
    let mut done = Vec::new();
    for _ in 0..40 {
        let op = sequences::operation(&mut random, &sequences::present(mounted.path()));
        let _ = apply(mounted.path(), &op);
        done.push(format!("{op:?}"));
    }
    let after = Picture::of(mounted.path());
    let live = run(diff(&union).args(["--format", "json"]));
    let what = format!("seed {seed}, {world:?}\n{}\n", done.join("\n"));
    assert_explained(
        &before,
        &after,
        &live,
        &format!("while it is mounted: {what}"),
    );
    mounted.unmount();
    let output = run(diff(&union).args(["--format", "json"]));
    assert_explained(&before, &after, &output, &what);
    assert_eq!(live.out(), output.out(), "mounted and not: {what}");
}

#[test]
fn every_change_of_random_sessions_is_told_and_nothing_else() {
    for seed in 1..=count(15) as u64 {
        let world = World {
            hard_links: seed % 2 == 0,
            whiteouts: seed % 3 == 0,
            lowers: 1 + (seed % 3) as usize,
        };
        random_session(seed, world, Union::layerfs);
    }
}

#[test]
fn every_change_in_uppers_of_the_kernels_overlayfs_is_told() {
    for seed in 1..=count(8) as u64 {
        let world = World {
            hard_links: false,
            whiteouts: false,
            lowers: 1 + (seed % 2) as usize,
        };
        random_session(1000 + seed, world, |union| {
            union.overlay("redirect_dir=on,metacopy=on,index=off,xino=off")
        });
    }
}

#[test]
fn layers_in_every_form_are_read_as_uppers() {
    let forms = [
        Form::Kernel,
        Form::KernelUser,
        Form::FuseOverlayfs,
        Form::Oci,
        Form::HardLink,
    ];
    for seed in 1..=count(15) as u64 {
        let form = forms[seed as usize % forms.len()];
        let mut random = Random::new(seed);
        let world = World {
            hard_links: false,
            whiteouts: true,
            lowers: 2 + (seed % 2) as usize,
        };
        let layers = sequences::layers(&mut random, world);
        let scratch = Scratch::new();
        let upper = layers[0].write_as(scratch.join("upper"), form);
        let lowers: Vec<_> = layers[1..]
            .iter()
            .enumerate()
            .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
            .collect();
        let point = scratch.dir("merged");
        let mount = Union::of(&lowers, &point).layerfs();
        let before = Picture::of(mount.path());
        mount.unmount();
        let all: Vec<_> = std::iter::once(upper.clone())
            .chain(lowers.clone())
            .collect();
        let mount = Union::of(&all, &point).layerfs();
        let after = Picture::of(mount.path());
        mount.unmount();
        let output = run(command(&upper, None, &lowers).args(["--format", "json"]));
        let what = format!("seed {seed}, {form:?}\n{layers:#?}");
        assert_explained(&before, &after, &output, &what);
    }
}

fn layers() -> [Layer; 2] {
    let top = Layer::new()
        .file("etc/hosts", "top")
        .file("docs/a/b", "1")
        .file("docs/c", "1");
    let bottom = Layer::new()
        .file("etc/hosts", "bottom")
        .file("etc/passwd", "root")
        .file("bin/big", vec![7; 300_000])
        .file("bin/small", "x")
        .file("old/gone", "1")
        .file("kind", "1")
        .file("linked/one", "same")
        .link("linked/two", "linked/one")
        .file("cache/x", "1")
        .dir("empty");
    [top, bottom]
}

fn session(at: impl Fn(&str) -> PathBuf) {
    fs::write(at("etc/hosts"), "changed").unwrap();
    fs::write(at("etc/new"), "").unwrap();
    fs::remove_file(at("etc/passwd")).unwrap();
    tests::process::call("chmod", &["4755", at("bin/big").to_str().unwrap()]).ok();
    fs::rename(at("bin/small"), at("bin/tiny")).unwrap();
    fs::remove_dir_all(at("old")).unwrap();
    fs::remove_file(at("kind")).unwrap();
    fs::create_dir(at("kind")).unwrap();
    fs::rename(at("docs"), at("manual")).unwrap();
    fs::write(at("manual/c"), "12").unwrap();
    fs::remove_dir_all(at("cache")).unwrap();
    fs::create_dir(at("cache")).unwrap();
    fs::write(at("cache/y"), "1").unwrap();
    fs::hard_link(at("etc/new"), at("etc/newer")).unwrap();
    fs::remove_dir(at("empty")).unwrap();
}

const TOLD: &str = "\
\x20m bin/big
R  bin/small -> bin/tiny
O  cache/
A  cache/y
D  empty/
 M etc/hosts
A  etc/new
A  etc/newer
D  etc/passwd
T  kind/
R  docs/ -> manual/
 M manual/c
D  old/
";

#[test]
fn each_kind_of_change_has_its_letters() {
    let mut stage = Stage::new(&layers());
    session(|path| stage.m(path));
    assert_eq!(run(&mut diff(&stage.union)).ok(), TOLD);
    stage.unmount();
    assert_eq!(run(&mut diff(&stage.union)).ok(), TOLD);
}

#[test]
fn details_are_told_with_verbose_and_in_json() {
    let mut stage = Stage::new(&layers());
    session(|path| stage.m(path));
    stage.unmount();
    let verbose = run(diff(&stage.union).arg("-v")).ok();
    for wanted in [
        " m bin/big\n       mode 0644 -> 4755\n",
        "T  kind/\n       was a file\n",
        " M etc/hosts\n       content (3 -> 7 bytes)\n       modified ",
    ] {
        assert!(verbose.contains(wanted), "{wanted:?} in\n{verbose}");
    }
    let changes = json(&run(diff(&stage.union).args(["--format", "json"])));
    let of = |path: &str| {
        let found = changes.iter().find(|change| change["path"] == path);
        found
            .unwrap_or_else(|| panic!("{path} is not told"))
            .clone()
    };
    assert_eq!(
        of("bin/big")["mode"],
        serde_json::json!({"was": "0644", "now": "4755"})
    );
    assert_eq!(of("bin/big")["touched"], "metadata");
    assert_eq!(of("manual")["from"], "docs");
    assert_eq!(of("manual")["type"], "directory");
    assert_eq!(of("kind")["was"], "file");
    assert_eq!(
        of("etc/hosts")["size"],
        serde_json::json!({"was": 3, "now": 7})
    );
    assert!(of("etc/new")["touched"].is_null());
}

#[test]
fn hard_links_of_layers_are_told_under_every_name() {
    let mut stage = Stage::new(&layers());
    // The name `two` is moved with its directory, where copy-up does not look for it.
    fs::rename(stage.m("linked"), stage.m("moved")).unwrap();
    fs::write(stage.m("moved/one"), "changed").unwrap();
    stage.unmount();
    let told = run(&mut diff(&stage.union)).ok();
    assert_eq!(told, "R  linked/ -> moved/\n M moved/one\n M moved/two\n");
}

#[test]
fn a_new_name_of_a_layers_file_is_a_hard_link() {
    let mut stage = Stage::new(&layers());
    fs::hard_link(stage.m("bin/small"), stage.m("bin/second")).unwrap();
    stage.unmount();
    let told = run(diff(&stage.union).arg("-v")).ok();
    assert_eq!(told, "A  bin/second\n       hard link of bin/small\n");
}

#[test]
fn files_out_of_directories_that_are_gone_keep_their_old_names() {
    let mut stage = Stage::new(&layers());
    fs::rename(stage.m("old/gone"), stage.m("saved")).unwrap();
    fs::remove_dir(stage.m("old")).unwrap();
    fs::rename(stage.m("docs"), stage.m("manual")).unwrap();
    fs::rename(stage.m("manual/a/b"), stage.m("b")).unwrap();
    stage.unmount();
    let told = run(&mut diff(&stage.union)).ok();
    assert_eq!(
        told,
        "R  docs/a/b -> b\nR  docs/ -> manual/\nD  old/\nR  old/gone -> saved\n"
    );
}

#[test]
fn without_layers_the_upper_alone_speaks() {
    let mut stage = Stage::new(&layers());
    session(|path| stage.m(path));
    stage.unmount();
    let told = run(&mut command(&stage.u(""), None, &[])).ok();
    let wanted = "\
\x20m bin/big
D  bin/small
 M bin/tiny
O  cache/
A  cache/y
D  docs
D  empty
 M etc/hosts
C  etc/new
C  etc/newer
D  etc/passwd
O  kind/
R  docs/ -> manual/
 M manual/c
D  old
";
    assert_eq!(told, wanted);
}

#[test]
fn an_untouched_upper_and_copies_without_a_change_tell_nothing() {
    let mut stage = Stage::new(&layers());
    assert_eq!(run(&mut diff(&stage.union)).ok(), "");
    let big = stage.m("bin/big");
    tests::process::call("chmod", &["600", big.to_str().unwrap()]).ok();
    tests::process::call("chmod", &["644", big.to_str().unwrap()]).ok();
    // Opened for writing, nothing written.
    drop(
        fs::OpenOptions::new()
            .append(true)
            .open(stage.m("etc/passwd"))
            .unwrap(),
    );
    stage.unmount();
    assert!(stage.u("bin/big").exists(), "it was copied up");
    assert_eq!(run(&mut diff(&stage.union)).ok(), "");
}

#[test]
fn odd_names_stay_on_one_line() {
    let mut stage = Stage::new(&[Layer::new().file("f", "f")]);
    let name = std::ffi::OsStr::from_bytes(b"a\nb\xff");
    fs::write(stage.m(name), "").unwrap();
    fs::write(stage.m("x -> y"), "").unwrap();
    stage.unmount();
    assert_eq!(
        run(&mut diff(&stage.union)).ok(),
        "A  \"a\\nb\\xff\"\nA  \"x -> y\"\n"
    );
    let changes = json(&run(diff(&stage.union).args(["--format", "json"])));
    assert_eq!(changes[0]["path_hex"], "610a62ff");
}

#[test]
fn bad_input_is_one_line() {
    let scratch = Scratch::new();
    let missing = scratch.join("missing");
    let line = run(&mut command(&missing, None, &[])).one_line_error(1);
    assert!(
        line.contains("upper") && line.contains("No such file"),
        "{line}"
    );
    let upper = scratch.dir("upper");
    let inside = scratch.dir("upper/lower");
    let line = run(&mut command(&upper, None, &[inside])).one_line_error(1);
    assert!(line.contains("lies in upper"), "{line}");
    run(Command::new(programs::layerfs()).arg("diff")).one_line_error(2);
    run(command(&upper, None, &[]).args(["--format", "xml"])).one_line_error(2);
}
