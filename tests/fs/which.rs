//! `layerfs which`: what it says is what a mount shows, and the reasons are the ones built in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::layers::Layer;
use tests::mounts::Union;
use tests::operations::apply;
use tests::packs;
use tests::process::{Output, run};
use tests::programs;
use tests::scratch::Scratch;
use tests::sequences::{self, Random, World, count};
use tests::stage::Stage;

fn which(union: &Union) -> Command {
    let mut command = Command::new(programs::layerfs());
    command.arg("which");
    for lower in &union.lowers {
        command.arg("--lower").arg(lower);
    }
    if let Some((upper, work)) = &union.upper {
        command.arg("--upper").arg(upper).arg("--work").arg(work);
    }
    command
}

fn answers(output: &Output) -> Vec<Value> {
    let document: Value =
        serde_json::from_str(&output.out()).unwrap_or_else(|_| panic!("{output}"));
    document["paths"].as_array().unwrap().clone()
}

/// All paths of the few names that random layers use, three deep.
fn candidates() -> Vec<PathBuf> {
    let names = ["a", "b", "c", "d"];
    let mut all: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    for depth in 1..3 {
        let longer: Vec<PathBuf> = all
            .iter()
            .filter(|path| path.components().count() == depth)
            .flat_map(|path| names.iter().map(|name| path.join(name)))
            .collect();
        all.extend(longer);
    }
    all
}

/// What is wrong with one answer, held against the merged tree.
fn fault(answer: &Value, merged: &Path) -> Option<String> {
    let path = Path::new(answer["path"].as_str().unwrap());
    // A path through a symlink leads elsewhere; here a symlink is what the path ends at.
    let linked = path
        .ancestors()
        .skip(1)
        .any(|above| !above.as_os_str().is_empty() && merged.join(above).is_symlink());
    if linked {
        return (!answer["from"].is_null()).then(|| "goes through a symlink".to_owned());
    }
    let Ok(meta) = fs::symlink_metadata(merged.join(path)) else {
        return (!answer["from"].is_null()).then(|| "shows, and is not there".to_owned());
    };
    let Some(from) = answer["from"].as_str() else {
        return Some("does not show, and is there".to_owned());
    };
    let parts = answer["parts"].as_array().unwrap();
    let part = parts.iter().find(|part| part["part"] == from).unwrap();
    let at = |part: &Value, key: &str| {
        let inner = part[key].as_str().unwrap().trim_start_matches('/');
        Path::new(part["dir"].as_str().unwrap()).join(inner)
    };
    if meta.is_dir() {
        if answer["type"] != "directory" {
            return Some("is a directory".to_owned());
        }
        // Every name that shows lies in one of the merged parts.
        let merged_parts: Vec<PathBuf> = parts
            .iter()
            .filter(|part| part["says"] == "directory")
            .map(|part| at(part, "path"))
            .collect();
        let lost = fs::read_dir(merged.join(path)).unwrap().find(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            !merged_parts
                .iter()
                .any(|dir| dir.join(&name).symlink_metadata().is_ok())
        });
        return lost.map(|name| format!("{:?} is in no part", name.unwrap().file_name()));
    }
    if answer["type"] == "directory" {
        return Some("is no directory".to_owned());
    }
    if !meta.is_file() || answer["indexed"] == true {
        return None;
    }
    let holder = match part["data_from"].as_str() {
        None => at(part, "path"),
        Some(data) => {
            let dir = parts.iter().find(|part| part["part"] == data).unwrap();
            let inner = part["data_path"].as_str().unwrap().trim_start_matches('/');
            Path::new(dir["dir"].as_str().unwrap()).join(inner)
        }
    };
    let (wanted, found) = (
        fs::read(merged.join(path)).unwrap(),
        fs::read(&holder).unwrap(),
    );
    (wanted != found).then(|| format!("{} holds something else", holder.display()))
}

fn assert_agree(union: &Union, merged: &Path, what: &str) {
    let output = run(which(union).args(["--format", "json"]).args(candidates()));
    for answer in answers(&output) {
        if let Some(fault) = fault(&answer, merged) {
            panic!("{what}: {fault}\n{answer:#}");
        }
    }
}

#[test]
fn answers_agree_with_the_mount_after_random_sessions() {
    for seed in 1..=count(10) as u64 {
        let mut random = Random::new(seed);
        let world = World {
            hard_links: seed % 2 == 0,
            whiteouts: true,
            lowers: 1 + (seed % 4) as usize,
        };
        let stage = Stage::new(&sequences::layers(&mut random, world));
        let root = stage.m("");
        for _ in 0..40 {
            let op = sequences::operation(&mut random, &sequences::present(&root));
            let _ = apply(&root, &op);
        }
        assert_agree(&stage.union, &root, &format!("seed {seed}, {world:?}"));
    }
}

#[test]
fn answers_agree_with_the_kernels_overlayfs() {
    for seed in 1..=count(10) as u64 {
        let mut random = Random::new(500 + seed);
        let world = World {
            hard_links: false,
            whiteouts: true,
            lowers: 3,
        };
        let scratch = Scratch::new();
        let lowers: Vec<_> = sequences::layers(&mut random, world)
            .iter()
            .enumerate()
            .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
            .collect();
        let union = Union::of(&lowers, scratch.dir("merged"));
        let overlay = union.overlay("");
        assert_agree(&union, overlay.path(), &format!("seed {seed}"));
        overlay.unmount();
    }
}

#[test]
fn answers_over_packed_layers_are_those_over_their_directories() {
    for seed in 1..=count(10) as u64 {
        let world = World {
            hard_links: seed % 2 == 0,
            whiteouts: true,
            lowers: 3,
        };
        let scratch = Scratch::new();
        let layers = sequences::layers(&mut Random::new(900 + seed), world).into_iter();
        let trees: Vec<_> = (layers.map(Layer::without_sockets).enumerate())
            .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
            .collect();
        let mut union = Union::of(&trees, scratch.dir("merged"));
        let ask =
            |union: &Union| run(which(union).args(["--format", "json"]).args(candidates())).out();
        let wanted = ask(&union);
        for tree in &mut union.lowers {
            *tree = packs::of_directory(tree, &tree.with_extension("lfs"));
        }
        let found = ask(&union).replace(".lfs\"", "\"");
        assert!(wanted.contains("\"from\": \"layer "), "{wanted}");
        assert_eq!(found, wanted, "seed {seed}");
    }
}

fn session() -> Stage {
    let top = Layer::new()
        .file("etc/hosts", "top")
        .whiteout("etc/gone")
        .opaque("own");
    let middle = Layer::new()
        .file("docs/a", "1")
        .file("own/x", "1")
        .file("flat", "1");
    let bottom = Layer::new()
        .file("etc/hosts", "bottom")
        .file("etc/gone", "1")
        .file("docs/b", "1")
        .file("big", vec![1; 100_000])
        .file("flat/under", "1")
        .file("removed", "1");
    let mut stage = Stage::new(&[top, middle, bottom]);
    fs::rename(stage.m("docs"), stage.m("manual")).unwrap();
    tests::process::call("chmod", &["600", stage.m("big").to_str().unwrap()]).ok();
    fs::remove_file(stage.m("removed")).unwrap();
    stage.unmount();
    stage
}

/// What is said of a path, the places of the parts left out.
fn said(stage: &Stage, path: &str) -> String {
    let output = run(which(&stage.union).arg(path));
    let shows = !output.out().contains("nothing shows");
    assert_eq!(output.code, i32::from(!shows), "{output}");
    let place = stage.scratch.path().to_str().unwrap().to_owned();
    let words = |line: &str| {
        let words = line
            .split_whitespace()
            .filter(|word| !word.starts_with(&place));
        words.collect::<Vec<_>>().join(" ")
    };
    output
        .out()
        .lines()
        .map(words)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_reasons_are_told() {
    let stage = session();
    assert_eq!(
        said(&stage, "etc/hosts"),
        "etc/hosts: file, from layer 3\n\
         upper no /etc\n\
         => layer 3 file /etc/hosts, 3 bytes\n\
         layer 2 no /etc\n\
         layer 1 file: hidden by what is no directory /etc/hosts of layer 3"
    );
    assert_eq!(
        said(&stage, "etc/gone"),
        "etc/gone: nothing shows, deleted in layer 3\n\
         upper no /etc\n\
         layer 3 deleted: a whiteout of /etc/gone\n\
         layer 2 no /etc\n\
         layer 1 file: hidden by the whiteout /etc/gone of layer 3"
    );
    assert_eq!(
        said(&stage, "manual/b"),
        "manual/b: file, from layer 1\n\
         upper no /manual/b\n\
         layer 3 no /docs\n\
         layer 2 no /docs/b\n\
         => layer 1 file /docs/b, 1 bytes"
    );
    assert_eq!(
        said(&stage, "manual"),
        "manual: directory, merges 3 parts; its metadata is from the upper\n\
         => upper directory /manual, was renamed: the parts below have it as /docs\n\
         layer 3 no /docs\n\
         => layer 2 directory /docs\n\
         => layer 1 directory /docs"
    );
    assert_eq!(
        said(&stage, "big"),
        "big: file, its metadata from the upper, its data from layer 1\n\
         => upper file /big, 100000 bytes, metadata only\n\
         layer 3 no /big\n\
         layer 2 no /big\n\
         ~> layer 1 supplies the data: /big"
    );
    assert_eq!(
        said(&stage, "own/x"),
        "own/x: nothing shows, hidden by the opaque directory /own of layer 3\n\
         upper no /own\n\
         layer 3 no /own/x\n\
         layer 2 directory: hidden by the opaque directory /own of layer 3\n\
         layer 1 no /own"
    );
    assert_eq!(
        said(&stage, "removed"),
        "removed: nothing shows, deleted in the upper\n\
         upper deleted: a whiteout of /removed\n\
         layer 3 no /removed\n\
         layer 2 no /removed\n\
         layer 1 file: hidden by the whiteout /removed of the upper"
    );
    assert_eq!(
        said(&stage, "nowhere").lines().next(),
        Some("nowhere: nothing shows, no part has it")
    );
}

#[test]
fn an_untrusted_layer_is_refused_and_told_so() {
    let scratch = Scratch::new();
    let top = Layer::new()
        .dir("moved")
        .xattr("trusted.overlay.redirect", "/real")
        .write(scratch.join("top"));
    let bottom = Layer::new()
        .file("real/f", "1")
        .write(scratch.join("bottom"));
    let union = Union::of(&[top, bottom], scratch.join("merged"));
    let output = run(which(&union).args(["--untrusted", "moved/f"]));
    assert_eq!(output.code, 1, "{output}");
    assert!(
        output.out().contains("refused: layer 2 is not trusted"),
        "{output}"
    );
    let followed = run(which(&union).arg("moved/f")).ok();
    assert!(
        followed.starts_with("moved/f: file, from layer 1\n"),
        "{followed}"
    );
}

#[test]
fn hard_links_in_the_index_are_told() {
    let bottom = Layer::new().file("one", "same").link("two", "one");
    let mut stage = Stage::new(&[bottom]);
    fs::remove_file(stage.m("one")).unwrap();
    stage.unmount();
    let text = said(&stage, "two");
    assert!(
        text.starts_with("two: file, from the upper by its index of hard links\n"),
        "{text}"
    );
}

#[test]
fn bad_input_is_one_line() {
    let scratch = Scratch::new();
    let missing = Union::of(&[scratch.join("missing")], scratch.join("merged"));
    run(which(&missing).arg("x")).one_line_error(2);
    run(&mut which(&missing)).one_line_error(2);
    run(Command::new(programs::layerfs()).args(["which", "x"])).one_line_error(2);
}
