//! F1, F2: killed, cut off and lied to at every system call.
//!
//! ```text
//!   scenarios ── sequences of operations over one pair of layers
//!   history   ── the trees that a plain ext4 directory goes through: before and after each operation
//!   kill      ── kill -9 of the daemon after each call that changes the disk, then a new mount
//!   faults    ── a call fails, or writes half of its bytes; the same mount goes on
//!   power     ── the power goes after each step, on ext4 and XFS; what was synced is there
//!   store     ── the same of commands that bring, make and take away images
//! ```
//!
//! By default a part of all places is tried, spread evenly; `TESTS_LONG=1` (`./tests/run --long`) tries
//! every one.
//! The tracer reads and writes registers, and knows those of x86-64.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

mod faults;
mod history;
mod kill;
mod power;
mod scenarios;
mod stage;
mod store;

use tests::operations::Op;
use tests::programs;

/// Which of `count` places (from 1) to strike: all, or about `short` of them, spread evenly.
fn places(count: usize, short: usize) -> Vec<usize> {
    let step = if programs::long() {
        1
    } else {
        count.div_ceil(short).max(1)
    };
    // The last place is always among them.
    (1..=count)
        .filter(|n| (count - n).is_multiple_of(step))
        .collect()
}

/// An operation, in few words.
fn brief(op: &Op) -> String {
    let mut text = format!("{op:?}");
    text.truncate(60);
    text
}

#[track_caller]
fn assert_none(faults: &[String]) {
    let (count, all) = (faults.len(), faults.join("\n"));
    assert!(faults.is_empty(), "{count} faults:\n{all}");
}
