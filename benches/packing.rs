//! Making, opening and merging packed layers.
//!
//! ```text
//!   cargo bench -p benches --bench packing
//! ```
//!
//! `pack` beside `inflate and hash`: what reading the archive costs anybody who checks it.
#![allow(clippy::unwrap_used)] // a bench without its fixture is no bench

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use benches::{Archive, Form, Stack, gzip, merge_to};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use layerfs::layer::packed::{Limits, Pack, pack};
use sha2::{Digest, Sha256};

const FILES: usize = 100_000;

/// The archive of a layer: files of text that packs as programs and manuals do.
fn archive(files: usize, length: usize) -> Vec<u8> {
    let mut tar = Archive::default();
    let mut random = 88_172_645_463_325_252_u64;
    let mut word = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for number in 0..files {
        let mut text = Vec::with_capacity(length + 16);
        while text.len() < length {
            text.extend_from_slice(format!("{:x} ", word() % 5000).as_bytes());
        }
        text.truncate(length);
        tar.file(&format!("usr/share/d{:03}/f{number}", number / 100), &text);
    }
    tar.bytes()
}

fn packing(criterion: &mut Criterion) {
    for (name, files, length) in [
        ("8000 files of 44 KB", 8000, 44_000),
        ("100000 files of 1 KB", FILES, 1000),
    ] {
        let tar = archive(files, length);
        let packed = gzip(&tar);
        let directory = tempfile::tempdir().unwrap();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Bytes(tar.len() as u64));
        let hash = |mut from: Box<dyn Read + '_>| {
            let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
            loop {
                match from.read(&mut buffer).unwrap() {
                    0 => return hash.finalize(),
                    read => hash.update(&buffer[..read]),
                }
            }
        };
        group.bench_function("inflate", |bench| {
            bench.iter(|| {
                let mut from = flate2::read::GzDecoder::new(&packed[..]);
                std::io::copy(&mut from, &mut std::io::sink()).unwrap()
            });
        });
        group.bench_function("inflate and hash", |bench| {
            bench.iter(|| hash(Box::new(flate2::read::GzDecoder::new(&packed[..]))));
        });
        group.bench_function("pack", |bench| {
            bench.iter_batched_ref(
                || File::create(directory.path().join("out.lfs")).unwrap(),
                |file| pack(&packed[..], "bench", file, Limits::default()).unwrap(),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("{FILES} files"));
    group.sample_size(10);
    for layers in [2, 50, 500] {
        let stack = Stack::new(Form::Packed, layers, FILES);
        let directory = stack.lowers[0].parent().unwrap();
        let paths: Vec<PathBuf> = stack.lowers.clone();
        let index = directory.join("merged.idx");
        group.bench_function(format!("merge {layers} layers"), |bench| {
            bench.iter(|| merge_to(&paths, &index));
        });
        group.bench_function(format!("open the index of {layers} layers"), |bench| {
            bench.iter(|| Pack::open(&index).unwrap());
        });
    }
    let one = Stack::new(Form::Packed, 1, FILES);
    group.bench_function("open a layer", |bench| {
        bench.iter(|| Pack::open(&one.lowers[0]).unwrap());
    });
    group.finish();
}

criterion_group!(benches, packing, merging);
criterion_main!(benches);
