//! fsx 0.3.2: random operations on one file, everything it reads checked against what it wrote.
//!
//! A failure names the seed; fsx gives the same sequence for it again.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::layers::Layer;
use tests::process::run_with;
use tests::programs;
use tests::stage::Stage;

/// Bytes of the file at most.
const LENGTH: usize = 256 << 10;

/// Every operation it has.
const ALL: &str = "close_open = 1
truncate = 5
posix_fallocate = 3
";

/// Every operation it allows on a file whose size stays (`blockmode`).
const SAME_SIZE: &str = "truncate = 0
";

/// What both have.
const COMMON: &str = "invalidate = 2
mapread = 10
mapwrite = 10
read = 10
write = 10
fsync = 1
fdatasync = 1
punch_hole = 5
sendfile = 5
posix_fadvise = 2
copy_file_range = 5
";

/// Seeds and operations for each.
fn effort() -> (u64, u64) {
    if programs::long() {
        (100, 10_000)
    } else {
        (4, 2_000)
    }
}

/// A layer with a file of each seed; its data takes metadata-only copies when only its size changes.
fn layer() -> Layer {
    let mut layer = Layer::new().dir("d");
    for seed in 1..=effort().0 {
        layer = layer
            .file(format!("cut-{seed}"), vec![seed as u8; LENGTH])
            .file(format!("whole-{seed}"), vec![seed as u8; LENGTH]);
    }
    layer
}

fn stage() -> Stage {
    Stage::new(&[layer()])
}

fn run(stage: &Stage, name: &str, seed: u64, weights: &str, more: &str) {
    let configuration = stage.scratch.join("fsx.toml");
    let text =
        format!("flen = {LENGTH}\n{more}[opsize]\nmax = 65536\n[weights]\n{weights}{COMMON}");
    fs::write(&configuration, text).unwrap();
    let mut command = Command::new(programs::suite("fsx"));
    command
        .arg("-f")
        .arg(configuration)
        .arg("-P")
        .arg(stage.scratch.path())
        .args(["-S", &seed.to_string(), "-N", &effort().1.to_string()])
        .arg(stage.m(Path::new(name)));
    let output = run_with(&mut command, b"", Duration::from_secs(300));
    assert_eq!(output.code, 0, "seed {seed}, {name}: {output}");
    assert!(output.out().contains("A-OK"), "{output}");
}

#[test]
fn a1_fsx_on_a_new_file() {
    let stage = stage();
    for seed in 1..=effort().0 {
        run(&stage, &format!("d/new-{seed}"), seed, ALL, "");
    }
}

/// fsx begins with a truncation to nothing: the layer's data must not come out of a later hole.
#[test]
fn a1_c2_fsx_on_a_file_of_a_lower_that_it_truncates() {
    let stage = stage();
    for seed in 1..=effort().0 {
        run(&stage, &format!("cut-{seed}"), seed, ALL, "");
    }
}

/// fsx begins with writing zeroes over all of it: the copy-up happens in the first of several writes.
#[test]
fn a1_c1_fsx_on_a_file_of_a_lower_that_it_overwrites() {
    let stage = stage();
    for seed in 1..=effort().0 {
        run(
            &stage,
            &format!("whole-{seed}"),
            seed,
            SAME_SIZE,
            "blockmode = true\n",
        );
    }
}

#[test]
fn a1_fsx_on_files_of_a_packed_layer() {
    let stage = Stage::packed(&[layer()]);
    for seed in 1..=effort().0 {
        run(&stage, &format!("cut-{seed}"), seed, ALL, "");
        let same_size = "blockmode = true\n";
        run(&stage, &format!("whole-{seed}"), seed, SAME_SIZE, same_size);
    }
}

/// The kernel gathers the writes: of what it holds back it must tell nothing else than what is there.
#[test]
fn a1_fsx_with_writes_held_back() {
    let stage = Stage::with(&[layer()], &["io=writeback"]);
    for seed in 1..=effort().0 {
        run(&stage, &format!("d/new-{seed}"), seed, ALL, "");
        run(&stage, &format!("cut-{seed}"), seed, ALL, "");
    }
}
