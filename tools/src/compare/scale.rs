//! How much of everything: the long form and the short one.

use std::time::Duration;

use super::client::Budget;

/// Sizes and counts of a run.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    /// Rounds, unless the user says otherwise.
    pub(super) rounds: usize,
    /// Files that are read one by one.
    pub(super) small_files: usize,
    /// Bytes of the large lower file.
    pub(super) large: u64,
    /// Files of a tree for git, chown -R and (twice as many) rm -rf.
    pub(super) tree: usize,
    /// C files.
    pub(super) sources: usize,
    /// New names that are made, renamed and removed.
    pub(super) names: usize,
    /// Small lower files that are changed.
    pub(super) copies: usize,
    /// Files of a stack of many layers.
    pub(super) stack_files: usize,
    /// SQLite transactions.
    pub(super) transactions: usize,
    /// What ends a loop of cheap operations.
    pub(super) budget: Budget,
    /// How long one contender may take for one work.
    pub(super) limit: Duration,
}

impl Scale {
    /// A few minutes.
    pub(super) fn short() -> Self {
        Self {
            rounds: 1,
            small_files: 2000,
            large: 256 << 20,
            tree: 500,
            sources: 16,
            names: 500,
            copies: 100,
            stack_files: 1000,
            transactions: 50,
            budget: Budget {
                most: 50_000,
                time: Duration::from_millis(300),
            },
            limit: Duration::from_secs(120),
        }
    }

    /// Half an hour.
    pub(super) fn long() -> Self {
        Self {
            rounds: 3,
            small_files: 10_000,
            large: 1 << 30,
            tree: 1500,
            sources: 40,
            names: 2000,
            copies: 300,
            stack_files: 4000,
            transactions: 200,
            budget: Budget {
                most: 200_000,
                time: Duration::from_millis(800),
            },
            limit: Duration::from_secs(240),
        }
    }
}
