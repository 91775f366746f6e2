//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use regex::Regex;

const EXAMPLES: &str = "\
Examples:
  compare                                   everything, three rounds, half an hour
  compare --short                           everything, small, in a few minutes
  compare --only 'walk|missing'             some works only; --list names them
  compare --only git --contenders layerfs,overlayfs --rounds 7
  compare --section startup                 runner beside docker, runc and bubblewrap
  compare --section images --rounds 5       pull, commit, build, remove: runner beside docker
  compare --trace --only walk               what the daemons do for each operation
  compare --install                         first installs the peers (apt-get, cargo install)
  compare --render benches/runs/DATE-HOST   draws table and plot of a kept run again

Needs root, a Debian machine and no other load on it. Writes README.md (the table), plot.svg,
layers.svg and samples.json. Layers and uppers lie in a directory of --scratch, which is
removed at the end; caches of the whole machine are dropped again and again.";

/// Compare layerfs with other union file systems on this machine.
///
/// Every work is done by each contender in turn, in several rounds, over the same layers; the
/// table shows medians, and ratios to the kernel's overlayfs.
#[derive(Debug, Parser)]
#[command(name = "compare", version, after_help = EXAMPLES)]
pub(super) struct Options {
    /// What is compared
    #[arg(long, value_enum, default_value = "unions")]
    pub(super) section: Section,
    /// Small sizes and one round
    #[arg(long)]
    pub(super) short: bool,
    /// Only the works whose name, or the name of one of their lines, matches
    #[arg(long, value_name = "REGEX")]
    pub(super) only: Option<Regex>,
    /// Rounds of each work
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) rounds: Option<u16>,
    /// Only the contenders whose key begins so, e.g. layerfs,overlayfs
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pub(super) contenders: Vec<String>,
    /// Where the results go [default: benches/runs/DATE-HOST; for a part or the short form
    /// target/compare]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// On the disk to measure
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(super) scratch: PathBuf,
    /// Lock this file while measuring, for about a minute and a half at a time: builds that run as
    /// `flock -s FILE` then wait; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) lock: Vec<PathBuf>,
    /// Print the system calls that each daemon makes for an operation (strace), measure nothing
    #[arg(long)]
    pub(super) trace: bool,
    /// Install what is missing before
    #[arg(long)]
    pub(super) install: bool,
    /// List the works and the contenders, measure nothing
    #[arg(long)]
    pub(super) list: bool,
    /// Draw table and plots of a kept run again, measure nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "list", "install"])]
    pub(super) render: Option<PathBuf>,
}

/// A part of the comparison with contenders of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Section {
    /// layerfs beside other union file systems
    Unions,
    /// Packing a layer beside inflating and unpacking it
    Packing,
    /// Starting containers: runner beside docker, runc and bubblewrap
    Startup,
    /// Images from a local registry: runner beside docker
    Images,
}
