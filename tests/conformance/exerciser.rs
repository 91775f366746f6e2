//! C5 and A1 at random: one file of a lower, held by many handles, opened before and after its copy-up.
//!
//! ```text
//!   handles: readers, writers, appenders, private mappings      model: the bytes, in memory
//!   between the operations: chmod, rename, link, unlink of a name, dropped pages, fsync
//! ```
//!
//! fsx has one handle and knows nothing of names; here every handle must see what any other wrote, and
//! what came from the layer must come from it still. A failure prints its seed and its last steps.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{Advice, FallocateFlags, copy_file_range, fadvise, fallocate};
use tests::layers::Layer;
use tests::programs;
use tests::sequences::Random;
use tests::stage::Stage;
use tests::sys::Mapping;

/// The largest file.
const LENGTH: usize = 300_000;

struct Handle {
    file: File,
    writable: bool,
    append: bool,
}

struct Exerciser {
    stage: Stage,
    random: Random,
    /// What the file holds.
    model: Vec<u8>,
    handles: Vec<Handle>,
    /// A name that leads to it now.
    name: PathBuf,
    /// Names it ever had, for a fresh one each time.
    names: u32,
    log: Vec<String>,
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251 + i / 4096) as u8).collect()
}

impl Exerciser {
    /// A file of `length` bytes, with a second name in its layer if `linked`.
    fn new(seed: u64, length: usize, linked: bool) -> Self {
        let mut layer = Layer::new()
            .file("d/file", pattern(length))
            .dir("e")
            .file("source", pattern(LENGTH));
        if linked {
            layer = layer.link("e/second", "d/file");
        }
        Self {
            stage: Stage::new(&[layer]),
            random: Random::new(seed),
            model: pattern(length),
            handles: Vec::new(),
            name: "d/file".into(),
            names: 0,
            log: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.stage.m(&self.name)
    }

    /// An offset and a length, mostly inside the file.
    fn range(&mut self) -> (usize, usize) {
        let at = self.random.below(self.model.len() + 5_000).min(LENGTH - 1);
        let most = if self.random.chance(20) {
            70_000
        } else {
            3_000
        };
        let length = 1 + self.random.below(most);
        (at, length.min(LENGTH - at))
    }

    fn open(&mut self) {
        let (writable, append) = *self
            .random
            .pick(&[(false, false), (true, false), (true, true)]);
        let file = OpenOptions::new()
            .read(true)
            .write(writable && !append)
            .append(append)
            .open(self.path())
            .unwrap();
        self.handles.push(Handle {
            file,
            writable,
            append,
        });
    }

    /// The number of a handle that can do it.
    fn handle(&mut self, wanted: impl Fn(&Handle) -> bool) -> Option<usize> {
        let fit: Vec<_> = (0..self.handles.len())
            .filter(|i| wanted(&self.handles[*i]))
            .collect();
        (!fit.is_empty()).then(|| *self.random.pick(&fit))
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        let end = at + data.len();
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[at..end].copy_from_slice(data);
    }

    /// Compares what a handle reads with the model.
    fn check_read(&mut self, handle: usize) {
        let (at, length) = self.range();
        let mut found = vec![0; length];
        let got = self.handles[handle]
            .file
            .read_at(&mut found, at as u64)
            .unwrap();
        let end = (at + length).min(self.model.len());
        let wanted = self.model.get(at..end).unwrap_or_default();
        assert_eq!(got, wanted.len(), "a read at {at} of {length}");
        let differs = wanted.iter().zip(&found).position(|(a, b)| a != b);
        assert!(
            differs.is_none(),
            "byte {} differs",
            at + differs.unwrap_or(0)
        );
    }

    fn check_mapping(&mut self, handle: usize) {
        let length = self.model.len();
        if length == 0 {
            return;
        }
        let mut mapping = Mapping::new(self.handles[handle].file.as_fd(), length, false).unwrap();
        let differs = self
            .model
            .iter()
            .zip(mapping.bytes())
            .position(|(a, b)| a != b);
        assert!(differs.is_none(), "mapped byte {differs:?} differs");
    }

    fn write_mapped(&mut self, handle: usize) {
        let (at, length) = self.range();
        let end = (at + length).min(self.model.len());
        if at >= end {
            return;
        }
        let fd = self.handles[handle].file.as_fd();
        let mut mapping = Mapping::new(fd, self.model.len(), true).unwrap();
        let fill = self.random.draw() as u8;
        mapping.bytes()[at..end].fill(fill);
        if self.random.chance(50) {
            mapping.sync().unwrap();
        }
        self.model[at..end].fill(fill);
    }

    fn copy_range(&mut self, handle: usize) {
        let (at, length) = self.range();
        let from = self.random.below(LENGTH - length);
        let source = File::open(self.stage.m("source")).unwrap();
        let (mut read, mut written, mut left) = (from as u64, at as u64, length);
        while left > 0 {
            let to = &self.handles[handle].file;
            let copied =
                copy_file_range(&source, Some(&mut read), to, Some(&mut written), left).unwrap();
            assert!(copied > 0, "copy_file_range ends before its source does");
            left -= copied;
        }
        self.put(at, &pattern(LENGTH)[from..from + length]);
    }

    /// One operation; gives its name.
    fn step(&mut self) -> &'static str {
        let choice = self.random.below(22);
        let plain = self.handle(|handle| handle.writable && !handle.append);
        let any = self.handle(|_| true);
        match (choice, any, plain) {
            (0 | 1, ..) | (_, None, _) => {
                self.open();
                "open"
            }
            (2, Some(any), _) if self.handles.len() > 5 => {
                self.handles.remove(any);
                "close"
            }
            (2..=6, Some(any), _) => {
                self.check_read(any);
                "read"
            }
            (7 | 8, Some(any), _) => {
                self.check_mapping(any);
                "mapped read"
            }
            (9 | 10, _, Some(plain)) => {
                let (at, length) = self.range();
                let data = vec![self.random.draw() as u8; length];
                self.handles[plain]
                    .file
                    .write_all_at(&data, at as u64)
                    .unwrap();
                self.put(at, &data);
                "write"
            }
            (11, _, Some(plain)) => {
                self.write_mapped(plain);
                "mapped write"
            }
            (12, _, Some(plain)) => {
                let length = self.range().0;
                self.handles[plain].file.set_len(length as u64).unwrap();
                self.model.resize(length, 0);
                "truncate"
            }
            (13, _, Some(plain)) => {
                let (at, length) = self.range();
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(&self.handles[plain].file, mode, at as u64, length as u64).unwrap();
                let end = (at + length).min(self.model.len());
                self.model[at.min(end)..end].fill(0);
                "punch"
            }
            (14, _, Some(plain)) => {
                self.copy_range(plain);
                "copy_file_range"
            }
            (15, ..) => self.append(),
            _ => self.step_of_names(choice),
        }
    }

    fn append(&mut self) -> &'static str {
        let Some(handle) = self.handle(|handle| handle.append) else {
            return "nothing";
        };
        if self.model.len() < LENGTH - 1_000 {
            let data = vec![self.random.draw() as u8; 1 + self.random.below(1_000)];
            self.handles[handle].file.write_all(&data).unwrap();
            self.put(self.model.len(), &data);
        }
        "append"
    }

    /// Changes that no byte of the data may notice.
    fn step_of_names(&mut self, choice: usize) -> &'static str {
        let any = self.handles.last().unwrap();
        match choice {
            16 => {
                fs::set_permissions(self.path(), fs::Permissions::from_mode(0o640)).unwrap();
                "chmod"
            }
            17 => {
                self.names += 1;
                let to =
                    PathBuf::from(["d", "e"][self.random.below(2)]).join(self.names.to_string());
                fs::rename(self.path(), self.stage.m(&to)).unwrap();
                self.name = to;
                "rename"
            }
            18 => {
                self.names += 1;
                let to = PathBuf::from("e").join(self.names.to_string());
                fs::hard_link(self.path(), self.stage.m(&to)).unwrap();
                fs::remove_file(self.path()).unwrap();
                self.name = to;
                "link and unlink"
            }
            19 => {
                any.file.sync_all().unwrap();
                fadvise(&any.file, 0, None, Advice::DontNeed).unwrap();
                "fsync and drop pages"
            }
            20 => {
                let size = any.file.metadata().unwrap().size();
                assert_eq!(size, self.model.len() as u64, "fstat");
                let size = fs::metadata(self.path()).unwrap().size();
                assert_eq!(size, self.model.len() as u64, "stat");
                "stat"
            }
            _ if self.random.chance(10) => {
                self.handles.clear();
                self.stage.remount();
                self.open();
                "remount"
            }
            _ => "nothing",
        }
    }

    fn run(mut self, steps: usize) {
        self.open();
        for _ in 0..steps {
            let step = self.step();
            self.log.push(step.to_owned());
        }
        assert_eq!(fs::read(self.path()).unwrap(), self.model);
        self.handles.clear();
        self.stage.remount();
        assert_eq!(
            fs::read(self.path()).unwrap(),
            self.model,
            "after a remount"
        );
    }
}

impl Drop for Exerciser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(30);
            eprintln!(
                "after {} steps, the last: {:?}",
                self.log.len(),
                &self.log[from..]
            );
        }
    }
}

fn exercise(length: usize, linked: bool) {
    let (seeds, steps) = if programs::long() {
        (200, 1_000)
    } else {
        (12, 150)
    };
    for seed in 1..=seeds {
        eprintln!("seed {seed}");
        Exerciser::new(seed, length, linked).run(steps);
    }
}

#[test]
fn c5_a1_a_file_that_comes_up_whole() {
    exercise(20_000, false);
}

#[test]
fn c5_a1_c2_a_file_whose_metadata_may_come_up_first() {
    exercise(200_000, false);
}

#[test]
fn c5_a1_i2_a_file_with_two_names_in_its_layer() {
    exercise(100_000, true);
}
