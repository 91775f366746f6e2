//! F4: `layerfs check` names every broken invariant of an upper, and mends what can be mended.
//!
//! Each test makes an upper by ordinary work, breaks it by hand in one way, sees exactly that named,
//! repaired, and clean afterwards, and the merged tree still right.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::layers::Layer;
use tests::mounts::Union;
use tests::operations::apply;
use tests::process::{Output, call, run};
use tests::programs;
use tests::sequences::{self, Random, World, count};
use tests::snapshot::{Snapshot, View};
use tests::stage::Stage;
use tests::sys;

const ORIGIN: &[u8] = b"trusted.overlay.layerfs.origin";

fn check(union: &Union) -> Command {
    let (upper, work) = union.upper.as_ref().unwrap();
    let mut command = Command::new(programs::layerfs());
    command.arg("check").arg(upper).arg("--work").arg(work);
    for lower in &union.lowers {
        command.arg("--lower").arg(lower);
    }
    command
}

/// Codes and states of the findings, problems first told by `!`.
fn findings(output: &Output) -> Vec<String> {
    let document: Value =
        serde_json::from_str(&output.out()).unwrap_or_else(|_| panic!("{output}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let one = |finding: &Value| {
        let mark = if finding["problem"] == true { "!" } else { "" };
        format!("{mark}{} {}", text(finding, "code"), text(finding, "state"))
    };
    document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect()
}

fn ask(union: &Union, repair: bool) -> (i32, Vec<String>) {
    let mut command = check(union);
    command.args(["--format", "json"]);
    if repair {
        command.arg("--repair");
    }
    let output = run(&mut command);
    (output.code, findings(&output))
}

fn layers() -> [Layer; 2] {
    let top = Layer::new().file("both/top", "1").file("d/e/f", "1");
    let bottom = Layer::new()
        .file("both/bottom", "1")
        .file("file", "content")
        .file("other", "other")
        .file("big", vec![3; 300_000])
        .file("big2", vec![4; 300_000])
        .file("linked/one", "same")
        .link("linked/two", "linked/one")
        .file("tree/a", "1")
        .file("gone", "1");
    [top, bottom]
}

/// An unmounted upper that ordinary work has made.
fn worked() -> Stage {
    let mut stage = Stage::new(&layers());
    for root in [stage.m(""), stage.p("")] {
        let at = |path: &str| root.join(path);
        fs::write(at("file"), "changed").unwrap();
        call("chmod", &["600", at("big").to_str().unwrap()]).ok();
        fs::rename(at("d"), at("moved")).unwrap();
        fs::rename(at("tree"), at("forest")).unwrap();
        fs::remove_file(at("gone")).unwrap();
        fs::create_dir(at("new")).unwrap();
        fs::write(at("new/inside"), "1").unwrap();
        fs::write(at("other"), "12345").unwrap();
    }
    stage.unmount();
    assert_eq!(
        ask(&stage.union, false),
        (0, vec![]),
        "ordinary work is clean"
    );
    stage
}

fn set(path: &Path, name: &[u8], value: &[u8]) {
    sys::set_xattr(path, name, value).unwrap();
}

fn removed(path: &Path, name: &[u8]) -> Vec<u8> {
    let value = sys::xattr(path, name).unwrap().unwrap();
    sys::remove_xattr(path, name).unwrap();
    value
}

fn home(stage: &Stage) -> PathBuf {
    stage.union.upper.as_ref().unwrap().1.join("layerfs")
}

/// Breaks an upper, and sees it named (`code`, with `!` if it is a problem), mended, and right.
#[track_caller]
fn mends(code: &str, damage: impl FnOnce(&Stage)) {
    let mut stage = worked();
    damage(&stage);
    let problem = i32::from(code.starts_with('!'));
    assert_eq!(
        ask(&stage.union, false),
        (problem, vec![format!("{code} mendable")])
    );
    assert_eq!(ask(&stage.union, true), (0, vec![format!("{code} mended")]));
    assert_eq!(ask(&stage.union, false), (0, vec![]), "after the repair");
    stage.mount_again();
    stage.same("after the repair");
}

/// As [`mends`], for what only people can mend.
#[track_caller]
fn names(code: &str, damage: impl FnOnce(&Stage)) {
    let stage = worked();
    damage(&stage);
    let problem = i32::from(code.starts_with('!'));
    let wanted = (problem, vec![format!("{code} left")]);
    assert_eq!(ask(&stage.union, false), wanted);
    assert_eq!(ask(&stage.union, true), wanted, "nothing is made worse");
}

#[test]
fn f4_leftovers_in_the_stage() {
    mends("stage", |stage| {
        fs::create_dir_all(home(stage).join("stage/7/deep")).unwrap();
        fs::write(home(stage).join("stage/8"), "half").unwrap();
    });
}

#[test]
fn f4_marks_on_objects_that_cannot_have_them() {
    mends("!opaque-file", |stage| {
        set(&stage.u("file"), b"trusted.overlay.opaque", b"y")
    });
    mends("!opaque-value", |stage| {
        set(&stage.u("new"), b"trusted.overlay.opaque", b"z")
    });
    mends("!impure-file", |stage| {
        set(&stage.u("file"), b"trusted.overlay.impure", b"y")
    });
    mends("!metacopy-type", |stage| {
        set(&stage.u("new"), b"trusted.overlay.metacopy", b"")
    });
    mends("!char00-content", |stage| {
        set(&stage.u("file"), b"trusted.overlay.layerfs.char00", b"y")
    });
}

#[test]
fn f4_marks_nobody_knows() {
    names("!unknown-mark", |stage| {
        set(&stage.u("file"), b"trusted.overlay.future", b"1")
    });
    names("kernel-marks", |stage| {
        set(&stage.u("file"), b"trusted.overlay.nlink", b"U+1")
    });
}

#[test]
fn f4_a_missing_impure_mark() {
    mends("!impure-missing", |stage| {
        removed(&stage.u(""), b"trusted.overlay.impure");
    });
}

#[test]
fn f4_origin_records_that_say_nothing_or_name_no_layer() {
    mends("!origin-unreadable", |stage| {
        set(&stage.u("file"), ORIGIN, b"short")
    });
    mends("!origin-layer", |stage| {
        let mut record = removed(&stage.u("file"), ORIGIN);
        record[2] = 77;
        set(&stage.u("file"), ORIGIN, &record);
    });
    names("!origin-unreadable", |stage| {
        let mut record = removed(&stage.u("file"), ORIGIN);
        record[0] = 9;
        set(&stage.u("file"), ORIGIN, &record);
    });
}

#[test]
fn f4_two_files_with_one_origin() {
    mends("!origin-twice", |stage| {
        let record = sys::xattr(&stage.u("file"), ORIGIN).unwrap().unwrap();
        set(&stage.u("new/inside"), ORIGIN, &record);
        set(&stage.u("new"), b"trusted.overlay.impure", b"y");
    });
}

#[test]
fn f4_redirects_to_nowhere_and_out_of_grammar() {
    for (code, target) in [
        ("!redirect-nowhere", &b"/not/there"[..]),
        ("!redirect-nowhere", b"/file"),
        ("!redirect-nowhere", b"sibling"),
        ("!redirect-grammar", b"/a/../b"),
        ("!redirect-grammar", b"a/b"),
        ("!redirect-grammar", b".."),
        ("!redirect-grammar", b""),
    ] {
        mends(code, |stage| {
            set(&stage.u("new"), b"trusted.overlay.redirect", target)
        });
    }
    mends("redirect-leftover", |stage| {
        set(&stage.u("file"), b"trusted.overlay.redirect", b"/file");
    });
}

#[test]
fn f4_two_directories_with_one_redirect() {
    mends("!redirect-twice", |stage| {
        set(&stage.u("new"), b"trusted.overlay.redirect", b"/d");
        set(&stage.u(""), b"trusted.overlay.impure", b"y");
    });
    // Into a directory that shows at its own place, and into one above itself.
    mends("!redirect-twice", |stage| {
        set(&stage.u("new"), b"trusted.overlay.redirect", b"/both")
    });
    // A copied-up directory whose old name lost its whiteout: nobody can tell which is meant.
    let mut stage = worked();
    fs::remove_file(stage.u("d")).unwrap();
    assert_eq!(
        ask(&stage.union, true),
        (1, vec!["!redirect-twice left".to_owned()])
    );
    call("mknod", &[stage.u("d").to_str().unwrap(), "c", "0", "0"]).ok();
    stage.mount_again();
    stage.same("with the whiteout again");
}

#[test]
fn f4_metadata_only_copies_without_their_data() {
    names("!data-missing", |stage| {
        set(&stage.u("big"), b"trusted.overlay.redirect", b"/not/there");
    });
    names("!data-missing", |stage| {
        set(&stage.u("big"), b"trusted.overlay.redirect", b"/both");
    });
    names("!data-missing", |stage| {
        set(&stage.u("big"), b"trusted.overlay.redirect", b"/other");
    });
}

#[test]
fn f4_whiteouts() {
    names("whiteout-needless", |stage| {
        call(
            "mknod",
            &[stage.u("new/nothing").to_str().unwrap(), "c", "0", "0"],
        )
        .ok();
    });
    mends("whiteout-marked", |stage| {
        set(&stage.u("gone"), b"trusted.overlay.opaque", b"y");
    });
    // As overlayfs and we make them.
    let stage = worked();
    fs::remove_file(stage.u("gone")).unwrap();
    fs::hard_link(stage.u("d"), stage.u("gone")).unwrap();
    assert_eq!(ask(&stage.union, false), (0, vec![]));
}

#[test]
fn f4_names_of_aufs_in_the_overlay_form() {
    names("wh-name", |stage| {
        fs::write(stage.u("new/.wh.x"), "").unwrap()
    });
}

#[test]
fn f4_a_volatile_marker_and_the_kernels_workdir() {
    names("!volatile", |stage| {
        fs::write(home(stage).join("volatile"), "").unwrap()
    });
    names("kernel-work", |stage| {
        fs::create_dir_all(home(stage).with_file_name("work").join("incompat")).unwrap();
    });
}

/// An unmounted upper with an entry in the index: one of two names of a layer's file was removed.
fn indexed() -> (Stage, PathBuf) {
    let mut stage = Stage::new(&layers());
    for root in [stage.m(""), stage.p("")] {
        fs::remove_file(root.join("linked/one")).unwrap();
    }
    stage.unmount();
    assert_eq!(ask(&stage.union, false), (0, vec![]));
    let mut entries = fs::read_dir(home(&stage).join("index")).unwrap();
    let entry = entries
        .next()
        .expect("an entry of the index")
        .unwrap()
        .path();
    assert!(entries.next().is_none());
    (stage, entry)
}

#[test]
fn f4_counts_of_the_index() {
    for (code, wrong, exit) in [("!index-count", 0_u8, 1), ("index-count", 9, 0)] {
        let (mut stage, entry) = indexed();
        let mut record = removed(&entry, ORIGIN);
        record[4] = wrong;
        set(&entry, ORIGIN, &record);
        assert_eq!(
            ask(&stage.union, false),
            (exit, vec![format!("{code} mendable")])
        );
        assert_eq!(ask(&stage.union, true), (0, vec![format!("{code} mended")]));
        assert_eq!(ask(&stage.union, false), (0, vec![]));
        stage.mount_again();
        stage.same("counted again");
        assert_eq!(fs::metadata(stage.m("linked/two")).unwrap().nlink(), 1);
    }
}

#[test]
fn f4_entries_of_the_index_that_say_nothing_or_are_other_files() {
    let (mut stage, entry) = indexed();
    removed(&entry, ORIGIN);
    assert_eq!(
        ask(&stage.union, true),
        (0, vec!["!index-record mended".to_owned()])
    );
    assert_eq!(ask(&stage.union, false), (0, vec![]));
    stage.mount_again();
    stage.same("the record is written anew");

    for (name, code) in [
        ("stray", "!index-name"),
        ("9-1", "!index-layer"),
        ("1-1", "!index-other"),
    ] {
        mends(code, |stage| {
            fs::hard_link(stage.u("file"), home(stage).join("index").join(name)).unwrap();
        });
    }
    // What has no other name is not thrown away.
    names("!index-name", |stage| {
        fs::write(home(stage).join("index/stray"), "data").unwrap()
    });
}

#[test]
fn f4_an_entry_of_the_index_that_nothing_shows() {
    let (mut stage, entry) = indexed();
    call(
        "mknod",
        &[stage.u("linked/two").to_str().unwrap(), "c", "0", "0"],
    )
    .ok();
    fs::remove_file(stage.p("linked/two")).unwrap();
    assert_eq!(
        ask(&stage.union, false),
        (0, vec!["index-orphan mendable".to_owned()])
    );
    assert_eq!(
        ask(&stage.union, true),
        (0, vec!["index-orphan mended".to_owned()])
    );
    assert!(!entry.exists());
    stage.mount_again();
    stage.same("without the entry");
}

#[test]
fn f4_a_power_cut_is_repaired_as_the_next_mount_would() {
    let mut stage = Stage::new(&layers());
    if run(Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(stage.u("")))
    .out()
    .trim()
        != "ext2/ext3"
    {
        return stage.unmount();
    }
    fs::write(stage.m("file"), "changed").unwrap();
    let mount = stage.take_mount();
    mount.kill_daemon();
    drop(mount);
    let marker = home(&stage).join("unsynced");
    assert_eq!(
        ask(&stage.union, false),
        (0, vec!["unsynced left".to_owned()])
    );
    let target = fs::read_link(&marker).unwrap();
    let session = target
        .to_str()
        .unwrap()
        .rsplit_once('.')
        .unwrap()
        .1
        .to_owned();
    fs::remove_file(&marker).unwrap();
    std::os::unix::fs::symlink(format!("another-boot.{session}"), &marker).unwrap();
    fs::write(stage.u("file"), "").unwrap();
    let unsynced = |state: &str| format!("!unsynced {state}");
    assert_eq!(
        ask(&stage.union, false),
        (1, vec![unsynced("left"), unsynced("left")])
    );
    assert_eq!(ask(&stage.union, true), (0, vec![unsynced("mended")]));
    assert_eq!(ask(&stage.union, false), (0, vec![]));
    stage.mount_again();
    assert_eq!(fs::read(stage.m("file")).unwrap(), b"content");
}

#[test]
fn f4_other_layers_are_told_and_nothing_is_repaired_by_them() {
    let stage = worked();
    let mut union = stage.union.clone();
    union.lowers.reverse();
    let (code, found) = ask(&union, false);
    assert!(
        code == 1 && found.contains(&"!layers left".to_owned()),
        "{found:?}"
    );
    let line = run(check(&union).arg("--repair")).one_line_error(2);
    assert!(line.contains("not those"), "{line}");
    assert_eq!(ask(&stage.union, false), (0, vec![]));
}

#[test]
fn f4_a_mounted_upper_and_bad_input_are_refused_in_one_line() {
    let mut stage = Stage::new(&layers());
    let line = run(&mut check(&stage.union)).one_line_error(2);
    assert!(line.contains("in use by another mount"), "{line}");
    run(check(&stage.union).arg("--repair")).one_line_error(2);
    stage.unmount();
    let program = programs::layerfs();
    let upper = stage.u("");
    run(Command::new(program)
        .arg("check")
        .arg(&upper)
        .arg("--repair"))
    .one_line_error(2);
    run(Command::new(program).arg("check").arg(stage.u("missing"))).one_line_error(2);
    run(Command::new(program).arg("check")).one_line_error(2);
    assert!(run(&mut check(&stage.union)).ok().starts_with("clean: "));
}

/// Random work; the daemon is killed in the middle of it, or not.
#[test]
fn f4_ordinary_work_and_kills_leave_a_clean_upper() {
    for seed in 1..=count(8) as u64 {
        let mut random = Random::new(seed);
        let world = World {
            hard_links: true,
            whiteouts: seed % 2 == 0,
            lowers: 1 + (seed % 3) as usize,
        };
        let mut stage = Stage::new(&sequences::layers(&mut random, world));
        let root = stage.m("");
        let ops: Vec<_> = (0..60)
            .map(|_| {
                let op = sequences::operation(&mut random, &sequences::present(&root));
                let _ = apply(&root, &op);
                format!("{op:?}")
            })
            .collect();
        let wanted = Snapshot::of(&root, &View::plain());
        match seed % 2 {
            0 => stage.unmount(),
            _ => {
                let mount = stage.take_mount();
                mount.kill_daemon();
                drop(mount);
            }
        }
        let (code, found) = ask(&stage.union, false);
        assert_eq!(
            code,
            0,
            "seed {seed}, {world:?}: {found:?}\n{}",
            ops.join("\n")
        );
        let (code, found) = ask(&stage.union, true);
        assert_eq!(code, 0, "seed {seed}: {found:?}");
        stage.mount_again();
        wanted.assert_same(
            &Snapshot::of(&root, &View::plain()),
            "a repair changes nothing",
        );
    }
}
