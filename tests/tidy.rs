//! The repository's own rules: who may import whom, where `unsafe` may stand, how files look.
//!
//! The checks are plain functions over text, so that the last tests can show each of them failing
//! on a bad sample.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::source::{code, crate_names, module_of};

/// The floors of `fs`, highest first; a module may import from lower floors only.
const FS: &[&[&str]] = &[
    &["cli"],
    &["transport", "inspect"],
    &["ops"],
    &["inode"],
    &["union"],
    &["layer", "upper"],
    &["marks"],
    &["sys"],
    &["types", "error"],
];

/// The floors of `runner`.
const RUNNER: &[&[&str]] = &[
    &["cli"],
    &["build"],
    &["container"],
    &["init"],
    &["registry"],
    &["image", "mounts", "cgroup", "network", "security", "logs"],
    &["sys", "publish"],
    &["error", "types"],
];

/// Modules that belong to no floor: everybody may use them, and they may name everybody's errors.
const GROUND: &[&str] = &["error", "types"];

const LINES_WANTED: usize = 600;
const LINES_ALLOWED: usize = 700;

fn top() -> &'static Path {
    tests::programs::workspace()
}

/// All Rust files below the given directories, with their text.
fn sources(directories: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo: Vec<_> = directories.iter().map(|d| top().join(d)).collect();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            if path.ends_with("target") {
                continue;
            }
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(top()).unwrap().to_owned(), text));
        }
    }
    found.sort();
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    sources(&["fs", "runner", "tools", "benches", "tests", "fuzz"])
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Imports that do not go down.
fn import_faults(path: &Path, text: &str, floors: &[&[&str]]) -> Vec<String> {
    let floor = |name: &str| floors.iter().position(|names| names.contains(&name));
    let Some(own) = module_of(path) else {
        return Vec::new();
    };
    let Some(own_floor) = floor(&own) else {
        // The crate's own root only declares; anything else must have a floor.
        let root = own == "lib" || own == "main";
        return if root {
            vec![]
        } else {
            vec![format!("{}: `{own}` has no floor", path.display())]
        };
    };
    if GROUND.contains(&own.as_str()) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (line, name) in crate_names(text) {
        let Some(floor) = floor(&name) else { continue };
        if name != own && floor <= own_floor {
            let place = path.display();
            faults.push(format!(
                "{place}:{line}: `{own}` imports `{name}`, which is not below it"
            ));
        }
    }
    faults
}

#[test]
fn imports_go_down_only() {
    let mut faults = Vec::new();
    for (krate, floors) in [("fs", FS), ("runner", RUNNER)] {
        for (path, text) in sources(&[&format!("{krate}/src")]) {
            faults.extend(import_faults(&path, &text, floors));
        }
    }
    assert_none(&faults);
}

/// Uses of the file system's library outside the two places of the runner that may know it: what mounts
/// layers, and the one file that knows their form.
fn layerfs_faults(path: &Path, text: &str) -> Vec<String> {
    let of_layers = path == Path::new("runner/src/image/layers.rs");
    if of_layers || module_of(path).as_deref() == Some("mounts") {
        return Vec::new();
    }
    let uses = |line: &String| line.contains("layerfs::");
    let numbered = code(text)
        .into_iter()
        .enumerate()
        .filter(|(_, line)| uses(line));
    numbered
        .map(|(i, line)| format!("{}:{}: {}", path.display(), i + 1, line.trim()))
        .collect()
}

#[test]
fn only_mounts_and_layers_know_layerfs() {
    let all = sources(&["runner/src"]);
    assert_none(
        &all.iter()
            .flat_map(|(p, t)| layerfs_faults(p, t))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_file_system_never_hears_of_containers() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["fs/src"]) {
        for (i, line) in code(&text).iter().enumerate() {
            let words = ["runner::", "cgroup", "Dockerfile", "container::"];
            if words.iter().any(|w| line.contains(w)) {
                faults.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
            }
        }
    }
    assert_none(&faults);
}

/// Whether `unsafe` may stand in a file.
fn may_be_unsafe(path: &Path) -> bool {
    let own = module_of(path);
    let sys_module = path
        .components()
        .any(|c| c.as_os_str() == "sys" || c.as_os_str() == "sys.rs");
    sys_module || (path.starts_with("fs/src") && own.as_deref() == Some("transport"))
}

fn unsafe_faults(path: &Path, text: &str) -> Vec<String> {
    if may_be_unsafe(path) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (i, line) in code(text).iter().enumerate() {
        let word = |w: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|x| x == w)
        };
        if word("unsafe") || (line.contains("allow(") && word("unsafe_code")) {
            faults.push(format!(
                "{}:{}: unsafe outside a sys module",
                path.display(),
                i + 1
            ));
        }
    }
    faults
}

#[test]
fn unsafe_stands_in_sys_modules_only() {
    let all = all_sources();
    assert_none(
        &all.iter()
            .flat_map(|(p, t)| unsafe_faults(p, t))
            .collect::<Vec<_>>(),
    );
}

/// Faults of form: header, length, name, leftovers.
fn form_faults(path: &Path, text: &str) -> Vec<String> {
    let place = path.display();
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{place}: does not begin with `//!`"));
    }
    let lines = text.lines().count();
    if lines > LINES_ALLOWED {
        faults.push(format!("{place}: {lines} lines, {LINES_WANTED} are wanted"));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let parent = path
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_string_lossy();
    for name in ["utils", "util", "common", "misc", "helpers", "helper"] {
        if stem == name || parent == name {
            faults.push(format!("{place}: `{name}` says nothing of what is in it"));
        }
    }
    if stem
        .strip_prefix(&*parent)
        .is_some_and(|rest| rest.starts_with('_'))
    {
        faults.push(format!("{place}: stutters"));
    }
    for (i, line) in code(text).iter().enumerate() {
        for left in ["#[ignore", "todo!(", "unimplemented!(", "dbg!("] {
            if line.contains(left) {
                faults.push(format!("{place}:{}: {left}", i + 1));
            }
        }
    }
    faults
}

#[test]
fn every_file_has_a_header_and_a_good_form() {
    let all = all_sources();
    assert_none(
        &all.iter()
            .flat_map(|(p, t)| form_faults(p, t))
            .collect::<Vec<_>>(),
    );
    for (path, text) in &all {
        let lines = text.lines().count();
        if lines > LINES_WANTED {
            println!("{}: {lines} lines: think of splitting it", path.display());
        }
    }
}

/// Modules declared (`mod name;`) whose file is not there, and files that nobody declares.
fn module_faults(files: &[(PathBuf, String)]) -> Vec<String> {
    let there: BTreeSet<&Path> = files.iter().map(|(p, _)| p.as_path()).collect();
    let mut declared = BTreeSet::new();
    let mut faults = Vec::new();
    for (path, text) in files {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let own = ["mod", "lib", "main"].contains(&stem.as_str());
        let base = if own {
            path.parent().unwrap().to_owned()
        } else {
            path.with_extension("")
        };
        let mut given = None;
        for (raw, line) in text.lines().zip(code(text)) {
            let line = line.trim();
            if let Some(name) = raw.trim().strip_prefix("#[path = \"") {
                given = name
                    .strip_suffix("\"]")
                    .map(|n| path.parent().unwrap().join(n));
            }
            let rest = ["pub(crate) ", "pub(super) ", "pub "]
                .iter()
                .find_map(|v| line.strip_prefix(v));
            let Some(name) = rest
                .unwrap_or(line)
                .strip_prefix("mod ")
                .and_then(|r| r.strip_suffix(';'))
            else {
                continue;
            };
            let usual = base.join(format!("{name}.rs"));
            let places = [
                given.take().unwrap_or(usual),
                base.join(name).join("mod.rs"),
            ];
            match places.iter().find(|p| there.contains(p.as_path())) {
                Some(found) => drop(declared.insert(found.clone())),
                None => faults.push(format!("{}: no file for `mod {name};`", path.display())),
            }
        }
    }
    for (path, _) in files {
        let root = ["lib.rs", "main.rs"].iter().any(|n| path.ends_with(n));
        if !root
            && !declared.contains(path)
            && path
                .components()
                .nth(1)
                .is_some_and(|c| c.as_os_str() == "src")
        {
            let program = path
                .components()
                .nth(2)
                .is_some_and(|c| c.as_os_str() == "bin");
            if !program {
                faults.push(format!("{}: no module declares it", path.display()));
            }
        }
    }
    faults
}

#[test]
fn declared_modules_and_files_are_the_same() {
    for krate in [
        "fs/src",
        "fs/archive/src",
        "runner/src",
        "tools/src",
        "benches/src",
        "tests/src",
        "fuzz/src",
    ] {
        assert_none(&module_faults(&sources(&[krate])));
    }
    for area in [
        "tests/fs",
        "tests/crash",
        "tests/runner",
        "tests/hostile",
        "tests/conformance",
    ] {
        let files = sources(&[area]);
        assert_none(&module_faults(&files));
        let main = &files
            .iter()
            .find(|(p, _)| p.ends_with("main.rs"))
            .unwrap()
            .1;
        // Parts of a test are declared by their parent, as everywhere.
        let own = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with(area));
        let own = files
            .iter()
            .filter(|(p, _)| !p.ends_with("main.rs") && own(p));
        for (path, _) in own {
            let stem = path.file_stem().unwrap().to_string_lossy();
            assert!(
                main.contains(&format!("mod {stem};")),
                "{} runs in no test",
                path.display()
            );
        }
    }
}

/// What may stand at the top beside dot files.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "fs",
    "runner",
    "tools",
    "benches",
    "tests",
    "fuzz",
];

/// Configuration files that tools want at the top.
const CONFIGURATION: &[&str] = &[
    "clippy.toml",
    "rustfmt.toml",
    "deny.toml",
    "rust-toolchain.toml",
];

fn top_faults(names: &[String]) -> Vec<String> {
    let known = |name: &String| {
        name.starts_with('.')
            || TOP.contains(&name.as_str())
            || CONFIGURATION.contains(&name.as_str())
    };
    let strange = names
        .iter()
        .filter(|n| !known(n))
        .map(|n| format!("{n}: not at home at the top"));
    let missing = TOP.iter().filter(|t| !names.iter().any(|n| n == *t));
    strange
        .chain(missing.map(|m| format!("{m}: is missing at the top")))
        .collect()
}

#[test]
fn the_top_level_holds_what_it_shall() {
    let output = std::process::Command::new("git")
        .args([
            "-C",
            top().to_str().unwrap(),
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<_> = text
        .lines()
        .map(|l| l.split('/').next().unwrap().to_owned())
        .collect();
    assert!(
        output.status.success() && !names.is_empty(),
        "not a git checkout"
    );
    assert_none(&top_faults(&names.into_iter().collect::<Vec<_>>()));
}

#[test]
fn crates_share_versions_and_lints() {
    for krate in [
        "fs",
        "fs/archive",
        "runner",
        "tools",
        "benches",
        "tests",
        "fuzz",
    ] {
        let text = fs::read_to_string(top().join(krate).join("Cargo.toml")).unwrap();
        for line in [
            "version.workspace = true",
            "edition.workspace = true",
            "license.workspace = true",
        ] {
            assert!(text.contains(line), "{krate}/Cargo.toml: {line}");
        }
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{krate}/Cargo.toml: shared lints"
        );
    }
}

// The checks themselves, on samples that must fail.

#[test]
fn a_bad_import_is_seen() {
    let check = |path: &str, text: &str| import_faults(Path::new(path), text, FS).len();
    assert_eq!(check("fs/src/layer/x.rs", "use crate::union::Rule;"), 1);
    assert_eq!(
        check("fs/src/layer/x.rs", "use crate::upper::Form;"),
        1,
        "same floor"
    );
    assert_eq!(check("fs/src/sys/x.rs", "fn f() { crate::ops::f() }"), 1);
    assert_eq!(
        check(
            "fs/src/union/x.rs",
            "use crate::{\n    sys::At, ops::{A, B},\n    types::X};"
        ),
        1
    );
    assert_eq!(
        check("fs/src/strange/x.rs", ""),
        1,
        "a module without a floor"
    );
    assert_eq!(
        check(
            "fs/src/ops/x.rs",
            "use crate::layer::A; use crate::types::B; // crate::cli::C"
        ),
        0
    );
    assert_eq!(
        check(
            "fs/src/ops/x.rs",
            "const T: &str = \"crate::cli::x\"; use crate::ops::y;"
        ),
        0
    );
    let runner = |text: &str| import_faults(Path::new("runner/src/image/x.rs"), text, RUNNER).len();
    assert_eq!(runner("use crate::network::x;"), 1, "siblings");
    assert_eq!(
        layerfs_faults(Path::new("runner/src/init/x.rs"), "use layerfs::types::A;").len(),
        1
    );
    assert_eq!(
        layerfs_faults(
            Path::new("runner/src/mounts/x.rs"),
            "use layerfs::types::A;"
        )
        .len(),
        0
    );
}

#[test]
fn a_misplaced_unsafe_is_seen() {
    let check = |path: &str, text: &str| unsafe_faults(Path::new(path), text).len();
    assert_eq!(check("fs/src/ops/x.rs", "unsafe { f() }"), 1);
    assert_eq!(check("runner/src/init/x.rs", "#![allow(unsafe_code)]"), 1);
    assert_eq!(check("runner/src/transport/x.rs", "unsafe fn f() {}"), 1);
    assert_eq!(
        check(
            "fs/src/ops/x.rs",
            "// unsafe\nlet a = \"unsafe\"; r#\"unsafe\"#; let not_unsafe = 1;"
        ),
        0
    );
    assert_eq!(check("fs/src/sys/x.rs", "unsafe { f() }"), 0);
    assert_eq!(check("runner/src/cgroup/sys.rs", "unsafe { f() }"), 0);
    assert_eq!(check("fs/src/transport/wire.rs", "unsafe { f() }"), 0);
}

#[test]
fn bad_form_is_seen() {
    let check = |path: &str, text: &str| form_faults(Path::new(path), text).len();
    assert_eq!(check("fs/src/ops/x.rs", "use std::fs;\n"), 1);
    assert_eq!(
        check(
            "fs/src/ops/x.rs",
            &format!("//! Long.\n{}", "\n".repeat(700))
        ),
        1
    );
    assert_eq!(check("fs/src/ops/utils.rs", "//! X.\n"), 1);
    assert_eq!(check("fs/src/common/mod.rs", "//! X.\n"), 1);
    assert_eq!(check("fs/src/ops/ops_read.rs", "//! X.\n"), 1);
    assert_eq!(
        check(
            "tests/x.rs",
            &format!("//! X.\n#[{}]\nfn f() {{ {}!() }}\n", "ignore", "todo")
        ),
        2
    );
    assert_eq!(check("fs/src/ops/x.rs", "//! X.\n"), 0);
}

#[test]
fn a_missing_or_undeclared_module_is_seen() {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let missing = [
        file("fs/src/lib.rs", "pub mod there;\nmod gone;\n"),
        file("fs/src/there.rs", ""),
    ];
    assert_eq!(module_faults(&missing).len(), 1);
    let orphan = [file("fs/src/lib.rs", ""), file("fs/src/alone.rs", "")];
    assert_eq!(module_faults(&orphan).len(), 1);
    let nested = [
        file("fs/src/lib.rs", "mod a;"),
        file("fs/src/a/mod.rs", "pub(super) mod b;"),
        file("fs/src/a/b.rs", "mod c;"),
        file("fs/src/a/b/c.rs", ""),
    ];
    assert_eq!(module_faults(&nested).len(), 0);
}

#[test]
fn a_strange_name_at_the_top_is_seen() {
    let mut names: Vec<String> = TOP.iter().map(|t| (*t).to_owned()).collect();
    names.push(".ci".into());
    assert_eq!(top_faults(&names).len(), 0);
    names.push("notes.txt".into());
    assert_eq!(top_faults(&names).len(), 1);
    names.remove(0);
    assert_eq!(top_faults(&names).len(), 2);
}
