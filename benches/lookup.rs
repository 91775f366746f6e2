//! What a name costs, without a mount: by the form of the layers and by their number.
//!
//! ```text
//!   cargo bench -p benches --bench lookup             1000 files in 1 to 500 layers; the index of 100 000
//!   LAYERFS_BENCH_LARGE=1 cargo bench ...             the index of 1 000 000 files, too
//! ```
//!
//! Every stack holds the same names, spread over its layers, so that only the depth differs.
#![allow(clippy::unwrap_used)] // a bench without its fixture is no bench

use std::ffi::OsStr;
use std::hint::black_box;

use benches::{DEEP, FORMS, Form, IN_ONE, Stack, directory_of, name_of, walk};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use layerfs::layer::packed::Pack;
use layerfs::layer::packed::reader::ROOT;

const LAYERS: [usize; 5] = [1, 10, 50, 128, 500];

/// One name in the index itself: what a lookup of a mount is made of.
fn index(criterion: &mut Criterion) {
    let large = std::env::var_os("LAYERFS_BENCH_LARGE").is_some();
    let sizes = [100_000, 1_000_000];
    for files in &sizes[..if large { 2 } else { 1 }] {
        let mut group = criterion.benchmark_group(format!("index of {files}"));
        group.throughput(Throughput::Elements(1));
        for layers in [1, 50, 500] {
            let stack = Stack::new(Form::Merged, layers, *files);
            let pack = Pack::open(&stack.lowers[0]).unwrap();
            let directories: Vec<u32> = (0..files / IN_ONE)
                .map(|number| {
                    let name = directory_of(number);
                    let found = pack.lookup(ROOT, name.as_bytes()).unwrap();
                    found.unwrap().node.unwrap()
                })
                .collect();
            let names: Vec<String> = (0..*files).map(name_of).collect();
            // Not in order: as programs ask, each name lies elsewhere.
            let mut next = 0;
            let mut file = move || {
                next = (next + 7919) % files;
                next
            };
            group.bench_with_input(BenchmarkId::new("hit", layers), &layers, |bench, _| {
                bench.iter(|| {
                    let file = file();
                    let name = names[file].as_bytes();
                    let found = pack.lookup(directories[file / IN_ONE], black_box(name));
                    assert!(found.unwrap().is_some());
                });
            });
            group.bench_with_input(BenchmarkId::new("miss", layers), &layers, |bench, _| {
                bench.iter(|| {
                    let directory = directories[file() / IN_ONE];
                    let found = pack.lookup(directory, black_box(b"missing"));
                    assert!(found.unwrap().is_none());
                });
            });
        }
        group.finish();
    }
}

/// What the file system answers; the kernel asks it a name when it does not know it yet.
fn lookups(criterion: &mut Criterion) {
    for form in FORMS {
        let mut group = criterion.benchmark_group(format!("lookup, {form}"));
        for layers in LAYERS {
            let stack = Stack::new(form, layers, IN_ONE);
            let files = stack.open();
            let directory = walk(&files, [&*directory_of(0)]);
            let names: Vec<_> = (0..IN_ONE).map(name_of).collect();
            group.throughput(Throughput::Elements(1));
            // Known to the table: what the kernel asks again after a timeout.
            group.bench_with_input(BenchmarkId::new("known", layers), &layers, |bench, _| {
                let held = files.lookup(directory, OsStr::new(&names[0])).unwrap();
                bench.iter(|| {
                    let name = OsStr::new(black_box(&names[0]));
                    let entry = files.lookup(directory, name).unwrap();
                    files.forget(entry.node, 1);
                });
                files.forget(held.node, 1);
            });
            group.bench_with_input(BenchmarkId::new("hit", layers), &layers, |bench, _| {
                let mut next = 0;
                bench.iter(|| {
                    let name = OsStr::new(&names[next % IN_ONE]);
                    let entry = files.lookup(directory, black_box(name)).unwrap();
                    files.forget(entry.node, 1);
                    next += 1;
                });
            });
            group.bench_with_input(BenchmarkId::new("miss", layers), &layers, |bench, _| {
                let name = OsStr::new("missing");
                bench.iter(|| files.lookup(directory, black_box(name)).unwrap_err());
            });
            group.bench_with_input(
                BenchmarkId::new("deep path", layers),
                &layers,
                |bench, _| {
                    bench.iter(|| {
                        let leaf = walk(&files, DEEP);
                        files.forget(leaf, 1);
                    });
                },
            );
            files.forget(directory, 1);
        }
        group.finish();
    }
}

/// All names of a directory, and each of them looked up: `ls -l`.
fn listings(criterion: &mut Criterion) {
    for form in FORMS {
        let mut group = criterion.benchmark_group(format!("directory of {IN_ONE}, {form}"));
        group.throughput(Throughput::Elements(IN_ONE as u64));
        for layers in LAYERS {
            let stack = Stack::new(form, layers, IN_ONE);
            let files = stack.open();
            let directory = walk(&files, [&*directory_of(0)]);
            group.bench_with_input(BenchmarkId::new("names", layers), &layers, |bench, _| {
                bench.iter(|| {
                    let mut seen = 0;
                    let mut count = |_: &layerfs::types::DirEntry<'_>| {
                        seen += 1;
                        true
                    };
                    files.readdir(directory, 0, &mut count).unwrap();
                    assert!(seen >= IN_ONE, "{seen} of {IN_ONE} names");
                });
            });
            files.forget(directory, 1);
            let names: Vec<_> = (0..IN_ONE).map(name_of).collect();
            group.bench_with_input(
                BenchmarkId::new("first walk", layers),
                &layers,
                |bench, _| {
                    // From nothing: the layers are opened, too.
                    bench.iter(|| {
                        let files = stack.open();
                        let directory = walk(&files, [&*directory_of(0)]);
                        for name in &names {
                            let entry = files.lookup(directory, OsStr::new(name)).unwrap();
                            files.forget(entry.node, 1);
                        }
                    });
                },
            );
        }
        group.finish();
    }
}

criterion_group!(benches, index, lookups, listings);
criterion_main!(benches);
