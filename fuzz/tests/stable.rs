//! The targets, driven by the mutator on a stable compiler.
//!
//! `FUZZ_ROUNDS=N` does N rounds of each, `FUZZ_SEED=S` begins at another; `TESTS_LONG=1` does 30 times as
//! many. A finding tells its number, which gives the same input again.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuzz::{Mutator, TARGETS};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: no number")),
    )
}

#[track_caller]
fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    for seed in (target.seeds)() {
        (target.run)(&seed);
    }
    let long = std::env::var_os("TESTS_LONG").map_or(1, |_| 30);
    let rounds = number("FUZZ_ROUNDS").unwrap_or(target.rounds * long);
    let first = number("FUZZ_SEED").unwrap_or(0);
    let mutator = Mutator::new((target.seeds)(), (target.words)());
    for number in first..first + rounds {
        let input = mutator.input(number);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            panic!("{name}: a finding: FUZZ_SEED={number} FUZZ_ROUNDS=1 shows it again");
        }
    }
}

#[test]
fn archive() {
    holds("archive");
}

#[test]
fn packed() {
    holds("packed");
}

#[test]
fn merged() {
    holds("merged");
}

#[test]
fn dockerfile() {
    holds("dockerfile");
}

#[test]
fn names() {
    holds("names");
}
