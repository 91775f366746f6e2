//! Fuzz targets: any bytes in; never a panic, an endless loop, or an answer that contradicts itself.
//!
//! ```text
//!   archive      the bytes are a tar      refused, or a layer that verifies and can be read to its last byte
//!   packed       ... a packed layer       refused, or answers that may be wrong
//!   merged       ... a merged index      the same; or a layer, merged with others: what comes of it is whole
//!   dockerfile   ... a Dockerfile         refused with a line of it, or instructions
//!   names        ... lines of arguments   image names, ports, sizes, times, patterns: what is shown is understood again
//!
//!   seeds ──mutate──> bytes ──> target        cargo test -p fuzz (FUZZ_ROUNDS, FUZZ_SEED; TESTS_LONG=1)
//!   libFuzzer ──────> bytes ──> target        cargo run -p fuzz --bin seeds
//!                                             cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer TARGET
//! ```
//!
//! Formats with checksums are tried twice, as they come and with the sums made right, so that what
//! lies behind a sum is reached.
#![allow(clippy::unwrap_used)] // an unwrap that fails is a finding

mod layers;
mod mutate;
mod seeds;
mod text;

pub use layers::{archive, merged, packed};
pub use mutate::Mutator;
pub use text::{dockerfile, names};

/// A target with what to begin from.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The target: panics at a finding.
    pub run: fn(&[u8]),
    /// Sound inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something in an input.
    pub words: fn() -> Vec<Vec<u8>>,
    /// Rounds of the short form.
    pub rounds: u64,
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "archive",
        run: archive,
        seeds: seeds::archives,
        words: seeds::tar_words,
        rounds: 10_000,
    },
    Target {
        name: "packed",
        run: packed,
        seeds: seeds::packed,
        words: Vec::new,
        rounds: 20_000,
    },
    Target {
        name: "merged",
        run: merged,
        seeds: seeds::merged,
        words: Vec::new,
        rounds: 10_000,
    },
    Target {
        name: "dockerfile",
        run: dockerfile,
        seeds: seeds::dockerfiles,
        words: seeds::dockerfile_words,
        rounds: 20_000,
    },
    Target {
        name: "names",
        run: names,
        seeds: seeds::names,
        words: seeds::name_words,
        rounds: 20_000,
    },
];
