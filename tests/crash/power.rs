//! F1, F2: the power goes after each step of short sequences; journal replay, and a new mount after a
//! new boot. What was synced is there, the rest is of some moment, and no layer's file is hidden by an
//! empty or half-written copy.
//!
//! ```text
//!   disk   ── ext4 and XFS on a loop device, cut off by their shutdown ioctl
//!   steps  ── the alphabet: operations, fsync, sync, waiting for the settling thread
//!   truth  ── what a cut may leave
//!   cases  ── sequences of which one failed once
//! ```
//!
//! Many sequences run beside each other, each in a directory of its own, and are cut off together.

mod cases;
mod disk;
mod steps;
mod truth;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use tests::layers::{Layer, flatten};
use tests::lowers::Lowers;
use tests::mounts::Union;
use tests::programs;
use tests::scratch::Scratch;
use tests::sequences::Random;
use tests::sys::Cut;

use crate::history::dress_root;
use crate::stage::is_sound;
use crate::{assert_none, brief};
use disk::{Disk, Kind};
use steps::{Sequence, Step, all, layers, sampled};
use truth::{Moment, Truth, moment};

/// How many sequences are cut off together.
const BATCH: usize = 40;
/// How many sequences the short form tries, of each length above one.
const SHORT: usize = 30;
/// How many of length 3 the long form tries.
const LONG: usize = 3000;
/// Longer than a copy waits to be settled.
const SETTLED: Duration = Duration::from_millis(6500);
/// Another boot than any.
const OTHER_BOOT: &str = "00000000-0000-4000-8000-000000000000";

/// Layers with a directory for each sequence of a batch, and a disk for the upper. Fields drop in this
/// order: lowers compared, disk gone, directory removed.
struct Place {
    _guard: Lowers,
    disk: Disk,
    union: Union,
    scratch: Scratch,
    turns: usize,
}

impl Place {
    fn new(kind: Kind, width: usize) -> Self {
        let scratch = Scratch::new();
        let write = |(i, layer): (usize, &Layer)| {
            let lower = scratch.dir(format!("lower{i}"));
            for n in 0..width {
                let root = layer.write(lower.join(name(n)));
                dress_root(&root);
            }
            lower
        };
        let lowers: Vec<PathBuf> = layers().iter().enumerate().map(write).collect();
        Self {
            _guard: Lowers::guard(&lowers),
            disk: Disk::new(&scratch, kind),
            union: Union::of(&lowers, scratch.dir("merged")),
            scratch,
            turns: 0,
        }
    }

    /// Goes through the sequences, cuts the power, and looks at what is left; gives what is wrong.
    fn turn(&mut self, batch: &[Sequence], cut: Cut) -> Vec<String> {
        self.turns += 1;
        let plain = self.scratch.join("plain");
        let _ = fs::remove_dir_all(&plain);
        let mut histories: Vec<Vec<Moment>> = Vec::new();
        for n in 0..batch.len() {
            let root = plain.join(name(n));
            flatten(&layers(), &root);
            dress_root(&root);
            histories.push(vec![moment(&root)]);
        }
        let home = self.disk.path().join(self.turns.to_string());
        let (upper, work) = (home.join("upper"), home.join("work"));
        for path in [&upper, &work] {
            fs::create_dir_all(path).unwrap();
        }
        self.disk.sync();
        let union = self.union.clone().upper(&upper, &work);
        let mount = union.layerfs();
        let mut faults = Vec::new();
        for at in 0..batch.iter().map(Vec::len).max().unwrap_or(0) {
            for (n, sequence) in batch.iter().enumerate() {
                let Some(step) = sequence.get(at) else {
                    continue;
                };
                let root = plain.join(name(n));
                let wanted = step.take(&root);
                histories[n].push(moment(&root));
                let answer = step.take(&mount.join(name(n)));
                if answer != wanted {
                    let what = format!("{} gave {answer:?} instead of {wanted:?}", few(sequence));
                    faults.push(what);
                }
            }
            let now = |step: Step| batch.iter().any(|sequence| sequence.get(at) == Some(&step));
            if now(Step::Wait) {
                std::thread::sleep(SETTLED);
            }
            if now(Step::Sync) {
                self.disk.sync();
            }
        }
        self.disk.cut(cut);
        mount.kill_daemon();
        unmount(mount.path(), UnmountFlags::DETACH).unwrap();
        self.disk.again();
        new_boot(&work);
        faults.extend(look(&union, batch, &histories, cut));
        fs::remove_dir_all(&home).unwrap();
        faults
    }
}

/// Mounts after the power cut, and compares.
fn look(union: &Union, batch: &[Sequence], histories: &[Vec<Moment>], cut: Cut) -> Vec<String> {
    let mount = union.layerfs();
    let mut faults = Vec::new();
    for (n, (sequence, moments)) in batch.iter().zip(histories).enumerate() {
        let truth = Truth {
            steps: sequence,
            moments,
        };
        let found = moment(&mount.join(name(n)));
        if let Err(why) = truth.explain(&found, cut) {
            faults.push(format!("{} ({cut:?}): {why}", few(sequence)));
        }
    }
    mount.unmount();
    faults.extend(is_sound(union).err());
    faults
}

/// Lets the marker of unsynced copies, if there is one, name another boot than this.
fn new_boot(work: &Path) {
    let marker = work.join("layerfs/unsynced");
    let Ok(target) = fs::read_link(&marker) else {
        return;
    };
    let target = target.to_str().unwrap().to_owned();
    let (_, session) = target.rsplit_once('.').unwrap();
    fs::remove_file(&marker).unwrap();
    std::os::unix::fs::symlink(format!("{OTHER_BOOT}.{session}"), &marker).unwrap();
}

fn name(n: usize) -> String {
    format!("s{n:03}")
}

/// A sequence, in few words.
fn few(sequence: &[Step]) -> String {
    let brief = |step: &Step| match step {
        Step::Do(op) => brief(op),
        other => format!("{other:?}"),
    };
    let all: Vec<_> = sequence.iter().map(brief).collect();
    format!("[{}]", all.join("; "))
}

/// Sequences in batches: those that sync or wait stay among themselves, since they help the others.
fn batches(sequences: Vec<Sequence>) -> Vec<Vec<Sequence>> {
    let group = |sequence: &Sequence| {
        (
            sequence.contains(&Step::Wait),
            sequence.contains(&Step::Sync),
            sequence.iter().any(|s| matches!(s, Step::Fsync(_))),
        )
    };
    let mut groups = std::collections::BTreeMap::<_, Vec<Sequence>>::new();
    for sequence in sequences {
        groups.entry(group(&sequence)).or_default().push(sequence);
    }
    let cut = |all: Vec<Sequence>| all.chunks(BATCH).map(<[_]>::to_vec).collect::<Vec<_>>();
    groups.into_values().flat_map(cut).collect()
}

/// What is tried.
fn sequences() -> Vec<Sequence> {
    let mut random = Random::new(tests::sequences::first_seed());
    let mut chosen = all();
    if programs::long() {
        chosen.extend(sampled(&mut random, 3, LONG));
        return chosen;
    }
    chosen.retain(|sequence| sequence.len() == 1);
    for length in [2, 3] {
        chosen.extend(sampled(&mut random, length, SHORT));
    }
    chosen
}

#[track_caller]
fn sweep(kind: Kind, cut: Cut) {
    if !kind.is_there() {
        return;
    }
    let mut place = Place::new(kind, BATCH);
    let mut faults = Vec::new();
    for batch in batches(sequences()) {
        faults.extend(place.turn(&batch, cut));
    }
    assert_none(&faults);
}

#[test]
fn f1_f2_power_cut_on_ext4() {
    sweep(Kind::Ext4, Cut::AtOnce);
}

#[test]
fn f1_f2_power_cut_on_ext4_with_the_journal_written() {
    sweep(Kind::Ext4, Cut::JournalWritten);
}

#[test]
fn f1_f2_power_cut_on_xfs() {
    sweep(Kind::Xfs, Cut::AtOnce);
}

#[test]
fn f1_f2_power_cut_on_xfs_with_the_journal_written() {
    sweep(Kind::Xfs, Cut::JournalWritten);
}
