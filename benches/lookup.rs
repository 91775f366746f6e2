//! Lookups and listings without a mount: what a name costs by the number of layers.
//!
//! ```text
//!   cargo bench -p benches --bench lookup
//! ```
//!
//! Every stack holds the same names, spread over its layers, so that only the depth differs.
#![allow(clippy::unwrap_used)] // a bench without its fixture is no bench

use std::ffi::OsStr;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use layerfs::ops::FileSystem;
use layerfs::types::{Config, Metacopy, NodeId};

const LAYERS: [usize; 3] = [1, 10, 50];
const FILES: usize = 1000;
const DEPTH: usize = 8;

/// A stack of directory layers with the file system opened over it.
struct Stack {
    files: FileSystem,
    _directory: tempfile::TempDir,
}

impl Stack {
    fn new(layers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layer = |i: usize| directory.path().join(format!("layer{i}"));
        let deep: PathBuf = (0..DEPTH).map(|i| format!("level{i}")).collect();
        for i in 0..layers {
            fs::create_dir_all(layer(i).join("many")).unwrap();
            fs::create_dir_all(layer(i).join(&deep)).unwrap();
        }
        for i in 0..FILES {
            fs::write(layer(i % layers).join("many").join(name(i)), "").unwrap();
        }
        fs::write(layer(layers - 1).join(&deep).join("leaf"), "").unwrap();
        let config = Config {
            lowers: (0..layers).map(layer).collect(),
            upper: None,
            read_only: true,
            volatile: false,
            trust_redirect: false,
            metacopy: Metacopy::default(),
            noatime: true,
        };
        let files = FileSystem::open(&config).unwrap();
        Self {
            files,
            _directory: directory,
        }
    }

    /// Looks a path up, name by name, and takes all lookups but the last back.
    fn walk<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> NodeId {
        let mut at = NodeId::ROOT;
        for name in names {
            let next = self.files.lookup(at, OsStr::new(name)).unwrap().node;
            self.files.forget(at, u64::from(at != NodeId::ROOT));
            at = next;
        }
        at
    }
}

fn name(i: usize) -> String {
    format!("file{i:05}")
}

fn lookups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    for layers in LAYERS {
        let stack = Stack::new(layers);
        let many = stack.walk(["many"]);
        let names: Vec<_> = (0..FILES).map(name).collect();
        group.throughput(Throughput::Elements(1));
        // Known to the table: what the kernel asks again after a timeout.
        group.bench_with_input(BenchmarkId::new("known", layers), &layers, |bench, _| {
            let held = stack.files.lookup(many, OsStr::new(&names[0])).unwrap();
            bench.iter(|| {
                let entry = stack
                    .files
                    .lookup(many, OsStr::new(black_box(&names[0])))
                    .unwrap();
                stack.files.forget(entry.node, 1);
            });
            stack.files.forget(held.node, 1);
        });
        group.bench_with_input(BenchmarkId::new("hit", layers), &layers, |bench, _| {
            let mut next = 0;
            bench.iter(|| {
                let name = OsStr::new(&names[next % FILES]);
                let entry = stack.files.lookup(many, black_box(name)).unwrap();
                stack.files.forget(entry.node, 1);
                next += 1;
            });
        });
        group.bench_with_input(BenchmarkId::new("miss", layers), &layers, |bench, _| {
            bench.iter(|| {
                stack
                    .files
                    .lookup(many, OsStr::new(black_box("missing")))
                    .unwrap_err()
            });
        });
        group.bench_with_input(
            BenchmarkId::new("deep path", layers),
            &layers,
            |bench, _| {
                let levels: Vec<_> = (0..DEPTH).map(|i| format!("level{i}")).collect();
                bench.iter(|| {
                    let names = levels.iter().map(String::as_str).chain(["leaf"]);
                    let leaf = stack.walk(names);
                    stack.files.forget(leaf, 1);
                });
            },
        );
        stack.files.forget(many, 1);
    }
    group.finish();
}

fn listings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("readdir");
    for layers in LAYERS {
        let stack = Stack::new(layers);
        let many = stack.walk(["many"]);
        group.throughput(Throughput::Elements(FILES as u64));
        group.bench_with_input(BenchmarkId::new("names", layers), &layers, |bench, _| {
            bench.iter(|| {
                let mut seen = 0;
                let mut count = |_: &layerfs::types::DirEntry<'_>| {
                    seen += 1;
                    true
                };
                stack.files.readdir(many, 0, &mut count).unwrap();
                assert!(seen >= FILES, "{seen} of {FILES} names");
            });
        });
        stack.files.forget(many, 1);
    }
    group.finish();
}

criterion_group!(benches, lookups, listings);
criterion_main!(benches);
