//! What was asked, how often, and how long it took: counted as requests are answered.
//!
//! ```text
//!   thread ── its shard ── row of the operation: histogram of times, errors, bytes     (no lock, no sharing)
//!   `layerfs stats` ── ioctl on the root ── sum of the shards, as JSON
//! ```
//!
//! A histogram has two buckets for each power of two of nanoseconds, so a percentile is at most 25 % off.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::abi::Opcode;

/// One more than the largest number of an operation.
const OPERATIONS: usize = 54;
/// Two for each power of two, up to 68 s; what took longer is in the last.
const BUCKETS: usize = 72;
/// Threads that count without touching each other's memory.
const SHARDS: usize = 16;

thread_local! {
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Counters of one operation.
#[derive(Debug)]
struct Row {
    times: [AtomicU64; BUCKETS],
    total: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

/// The counters of one mount.
#[derive(Debug)]
pub(super) struct Stats {
    shards: Vec<[Row; OPERATIONS]>,
    next: AtomicUsize,
    pooled: AtomicU64,
}

/// What a mount tells of itself; see `layerfs stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// How requests come: `rings` or `device`.
    pub transport: String,
    /// Requests that a ring gave to the pool, because answering them meant waiting.
    pub pooled: u64,
    /// Objects that the kernel knows, or that are needed to reach one.
    pub nodes: u64,
    /// Copies made from a layer into the upper; the data of a metadata-only copy counts when it follows.
    pub copy_ups: u64,
    /// Bytes of files read.
    pub read_bytes: u64,
    /// Bytes of files written.
    pub written_bytes: u64,
    /// Every operation that was asked for, the most frequent first.
    pub operations: Vec<Operation>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name, as FUSE has it.
    pub name: String,
    /// How often it was answered.
    pub count: u64,
    /// How often with an error.
    pub errors: u64,
    /// Nanoseconds in our hands: mean, and what 50, 90 and 99 of 100 did not exceed.
    pub mean_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
}

impl Default for Stats {
    fn default() -> Self {
        let row = |_| Row {
            times: [const { AtomicU64::new(0) }; BUCKETS],
            total: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        let shards = std::iter::repeat_with(|| std::array::from_fn(row));
        Self {
            shards: shards.take(SHARDS).collect(),
            next: AtomicUsize::new(0),
            pooled: AtomicU64::new(0),
        }
    }
}

impl Stats {
    /// Counts an answer; `bytes` of a READ or WRITE.
    pub(super) fn count(&self, operation: Opcode, time: Duration, failed: bool, bytes: u64) {
        let row = &self.shard()[operation as usize];
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        row.times[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        row.total.fetch_add(nanos, Ordering::Relaxed);
        if failed {
            row.errors.fetch_add(1, Ordering::Relaxed);
        }
        if bytes > 0 {
            row.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a request that was left to the pool.
    pub(super) fn count_pooled(&self) {
        self.pooled.fetch_add(1, Ordering::Relaxed);
    }

    /// The rows of this thread: its own while there are at most as many threads as shards.
    fn shard(&self) -> &[Row; OPERATIONS] {
        let index = SHARD.get().unwrap_or_else(|| {
            let index = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
            SHARD.set(Some(index));
            index
        });
        &self.shards[index]
    }

    /// The sums, beside what others know.
    pub(super) fn told(&self, transport: &str, nodes: u64, copy_ups: u64) -> Statistics {
        let mut operations: Vec<_> = (0..OPERATIONS as u32)
            .filter_map(Opcode::of)
            .filter_map(|operation| self.operation(operation))
            .collect();
        operations.sort_by_key(|operation| std::cmp::Reverse(operation.count));
        Statistics {
            transport: transport.to_owned(),
            pooled: self.pooled.load(Ordering::Relaxed),
            nodes,
            copy_ups,
            read_bytes: self.sum(Opcode::Read, |row| &row.bytes),
            written_bytes: self.sum(Opcode::Write, |row| &row.bytes),
            operations,
        }
    }

    fn sum(&self, operation: Opcode, of: impl Fn(&Row) -> &AtomicU64) -> u64 {
        let rows = self.shards.iter().map(|shard| &shard[operation as usize]);
        rows.map(|row| of(row).load(Ordering::Relaxed)).sum()
    }

    /// `None` for what was never asked.
    fn operation(&self, operation: Opcode) -> Option<Operation> {
        let times: [u64; BUCKETS] =
            std::array::from_fn(|at| self.sum(operation, |row| &row.times[at]));
        let count: u64 = times.iter().sum();
        let percentile = |percent: u64| {
            let mut left = (count * percent).div_ceil(100);
            let reached = times.iter().position(|times| {
                left = left.saturating_sub(*times);
                left == 0
            });
            limit(reached.unwrap_or(BUCKETS - 1))
        };
        (count > 0).then(|| Operation {
            name: operation.name().to_owned(),
            count,
            errors: self.sum(operation, |row| &row.errors),
            mean_ns: self.sum(operation, |row| &row.total) / count,
            p50_ns: percentile(50),
            p90_ns: percentile(90),
            p99_ns: percentile(99),
        })
    }
}

/// The bucket of a time: its power of two, and whether it lies in the upper half of that.
fn bucket(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    let upper = if power == 0 {
        0
    } else {
        nanos >> (power - 1) & 1
    };
    (power as usize * 2 + upper as usize).min(BUCKETS - 1)
}

/// The time at which a bucket ends.
fn limit(bucket: usize) -> u64 {
    let start = 1 << (bucket / 2);
    match bucket % 2 {
        0 => start + start / 2,
        _ => start * 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_row_and_every_time_a_bucket_that_holds_it() {
        for number in 0..1000 {
            assert!(Opcode::of(number).is_none_or(|operation| (operation as usize) < OPERATIONS));
        }
        for nanos in (1..5000).chain([1 << 20, (1 << 35) - 1, u64::MAX]) {
            let bucket = bucket(nanos);
            assert!(nanos <= limit(bucket) || bucket == BUCKETS - 1, "{nanos}");
            assert!(bucket == 0 || nanos >= limit(bucket - 1), "{nanos}");
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted_by_any_thread() {
        let stats = Stats::default();
        std::thread::scope(|scope| {
            for nanos in [1000, 100_000] {
                let stats = &stats;
                scope.spawn(move || {
                    for at in 0..95 {
                        let slow = nanos == 100_000 && at >= 5;
                        let time = Duration::from_nanos(if slow { 1000 } else { nanos });
                        stats.count(Opcode::Read, time, at == 0, 10);
                    }
                });
            }
        });
        let told = stats.told("rings", 3, 4);
        assert_eq!((told.read_bytes, told.nodes, told.copy_ups), (1900, 3, 4));
        let [read] = told.operations.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(
            (read.name.as_str(), read.count, read.errors),
            ("read", 190, 2)
        );
        assert!(
            (1000..1536).contains(&read.p50_ns) && read.p50_ns == read.p90_ns,
            "{read:?}"
        );
        assert!(read.p99_ns >= 100_000 && read.p99_ns <= 131_072, "{read:?}");
        assert_eq!(read.mean_ns, (185 * 1000 + 5 * 100_000) / 190);
    }
}
