//! Writes the seeds of every target to where libFuzzer begins: `fuzz/libfuzzer/corpus/TARGET`, or below
//! another directory if one is named.

use std::path::PathBuf;
use std::{env, fs, io};

use fuzz::TARGETS;

fn main() -> io::Result<()> {
    let usual = || concat!(env!("CARGO_MANIFEST_DIR"), "/libfuzzer/corpus").into();
    let corpus = env::args_os().nth(1).map_or_else(usual, PathBuf::from);
    for target in TARGETS {
        let directory = corpus.join(target.name);
        fs::create_dir_all(&directory)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
