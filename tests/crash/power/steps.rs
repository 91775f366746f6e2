//! The alphabet of the sequences, and the sequences: all of length 1 and 2, some of length 3.

use std::fs::File;
use std::path::{Path, PathBuf};

use tests::layers::Layer;
use tests::operations::{Answer, Op, apply};
use tests::sequences::Random;

use crate::scenarios::data;

/// One step of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Do(Op),
    /// fsync of a file or directory.
    Fsync(PathBuf),
    /// sync(2).
    Sync,
    /// As long as it takes until copies are settled without being asked to.
    Wait,
}

impl Step {
    /// Does the step in one tree; what concerns the whole disk is for others to do.
    pub(crate) fn take(&self, root: &Path) -> Option<Answer> {
        match self {
            Self::Do(op) => Some(apply(root, op)),
            Self::Fsync(path) => {
                let opened = File::open(root.join(path));
                let synced = opened.and_then(|file| file.sync_all());
                let errno = |error: std::io::Error| {
                    rustix::io::Errno::from_io_error(&error).expect("an errno")
                };
                Some(Answer(synced.map(|()| String::new()).map_err(errno)))
            }
            Self::Sync | Self::Wait => None,
        }
    }
}

/// The layers, topmost first: a whole file and a large one, hard links, directories that merge.
pub(crate) fn layers() -> Vec<Layer> {
    let top = Layer::new()
        .dir("merged")
        .file("merged/c", data(2, 200))
        .whiteout("merged/b");
    let bottom = Layer::new()
        .file("small", data(3, 3000))
        .mode(0o4751)
        .owner(1, 2)
        .xattr("user.a", "a")
        .file("big", data(4, 70_000))
        .file("hard1", data(7, 3000))
        .link("hard2", "hard1")
        .dir("d")
        .mode(0o2750)
        .file("d/f", data(9, 9000))
        .dir("d/e")
        .dir("merged")
        .file("merged/a", data(12, 200))
        .file("merged/b", "b")
        .dir("empty");
    vec![top, bottom]
}

fn p(path: &str) -> PathBuf {
    path.into()
}

/// The alphabet.
pub(crate) fn alphabet() -> Vec<Step> {
    let ops = [
        Op::Append(p("small"), data(20, 300)),
        Op::Write(p("small"), 1000, data(21, 500)),
        Op::Overwrite(p("small"), data(22, 1500)),
        Op::Truncate(p("small"), 10),
        Op::Truncate(p("small"), 6000),
        Op::Punch(p("d/f"), 0, 4096),
        Op::Append(p("d/f"), data(23, 300)),
        Op::Chmod(p("small"), 0o600),
        Op::Rename(p("small"), p("d/moved")),
        Op::Rename(p("d/f"), p("small")),
        Op::Link(p("small"), p("merged/b")),
        Op::Unlink(p("small")),
        Op::Create(p("new"), 0o640),
        Op::Append(p("new"), data(24, 300)),
        Op::Rename(p("new"), p("small")),
        Op::Chmod(p("big"), 0o600),
        Op::Append(p("big"), data(25, 300)),
        Op::Truncate(p("big"), 66_000),
        Op::Rename(p("big"), p("d/e/big")),
        Op::Append(p("hard1"), data(26, 300)),
        Op::Unlink(p("hard2")),
        Op::Rename(p("d"), p("d2")),
        Op::Chmod(p("d"), 0o700),
        Op::Mkdir(p("dir"), 0o750),
        Op::Rmdir(p("empty")),
        Op::Rename(p("merged"), p("empty")),
    ];
    let synced = ["small", "new", "big", "hard2", "d/f", "d/e/big", "d", "."];
    let mut all: Vec<_> = ops.into_iter().map(Step::Do).collect();
    all.extend(synced.map(|path| Step::Fsync(p(path))));
    all.extend([Step::Sync, Step::Wait]);
    all
}

/// A sequence.
pub(crate) type Sequence = Vec<Step>;

/// All sequences of one step and of two.
pub(crate) fn all() -> Vec<Sequence> {
    let alphabet = alphabet();
    let one = alphabet.iter().map(|step| vec![step.clone()]);
    let two = alphabet.iter().flat_map(|a| {
        let second = alphabet.iter();
        second.map(|b| vec![a.clone(), b.clone()])
    });
    one.chain(two).collect()
}

/// Some sequences of `length` steps.
pub(crate) fn sampled(random: &mut Random, length: usize, count: usize) -> Vec<Sequence> {
    let alphabet = alphabet();
    let mut one = || {
        (0..length)
            .map(|_| random.pick(&alphabet).clone())
            .collect()
    };
    (0..count).map(|_| one()).collect()
}
