//! From limits to file contents: which file of which controller gets which text, as pure data.
//!
//! Order within the list is the order of writing. On v1 the memory limit comes before the
//! memory+swap limit, because the kernel refuses a memory limit above the latter and a new group
//! starts without either. On v2 `memory.swap.max` is swap alone: memory-swap minus memory.

use super::hierarchy::Version;
use super::{CgroupError, Limits, MemorySwap};

/// What to do when the file does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing else will do.
    Fail,
    /// Tell the user with this line and go on.
    Warn(&'static str),
    /// Go on.
    Ignore,
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
    pub(super) missing: Missing,
}

const NO_SWAP: &str = "WARNING: No swap limit support: the kernel does not account swap; \
                       memory limited without swap";
const NO_MEMORY: &str = "WARNING: No memory limit support: the memory controller is not mounted; \
                         limit discarded";
const NO_PIDS: &str =
    "WARNING: No pids limit support: the pids controller is not mounted; limit discarded";
const NO_CPUSET: &str =
    "WARNING: No cpuset support: the cpuset controller is not mounted; limit discarded";

/// Length of a period of processor time, in microseconds.
const PERIOD: u64 = 100_000;

/// The files to write, and warnings about limits that this machine cannot keep.
///
/// `version` tells the interface of the hierarchy that has a controller, if any has it. As with
/// docker, a missing memory, cpuset or pids controller is a warning, a missing cpu controller
/// an error.
pub(super) fn plan(
    limits: &Limits,
    version: impl Fn(&str) -> Option<Version>,
) -> Result<(Vec<Setting>, Vec<String>), CgroupError> {
    let mut settings = Vec::new();
    let mut warnings = Vec::new();
    let mut warn = |line: &str| warnings.push(line.to_owned());
    if limits.memory.is_some() || limits.memory_swap.is_some() {
        match version("memory") {
            Some(Version::V1) => memory_v1(limits, &mut settings),
            Some(Version::V2) => memory_v2(limits, &mut settings),
            None => warn(NO_MEMORY),
        }
    }
    if let Some(cpus) = limits.cpus {
        // The kernel's least quota is one millisecond.
        let quota = ((cpus * PERIOD as f64).round() as u64).max(1000);
        match version("cpu") {
            Some(Version::V1) => {
                settings.push(must("cpu", "cpu.cfs_period_us", PERIOD.to_string()));
                settings.push(must("cpu", "cpu.cfs_quota_us", quota.to_string()));
            }
            Some(Version::V2) => settings.push(must("cpu", "cpu.max", format!("{quota} {PERIOD}"))),
            None => {
                return Err(CgroupError::Limit {
                    flag: "--cpus",
                    value: cpus.to_string(),
                    why: "the cpu controller is not mounted".to_owned(),
                });
            }
        }
    }
    if let Some(list) = &limits.cpuset_cpus {
        match version("cpuset") {
            Some(_) => settings.push(must("cpuset", "cpuset.cpus", list.clone())),
            None => warn(NO_CPUSET),
        }
    }
    if let Some(pids) = limits.pids.filter(|&n| n > 0) {
        match version("pids") {
            Some(_) => settings.push(must("pids", "pids.max", pids.to_string())),
            None => warn(NO_PIDS),
        }
    }
    limits.tuning.plan(&version, &mut settings, &mut warn);
    Ok((settings, warnings))
}

fn must(controller: &'static str, file: &'static str, value: String) -> Setting {
    Setting {
        controller,
        file,
        value,
        missing: Missing::Fail,
    }
}

/// Memory plus swap in force: what was asked, else twice the memory.
fn total(limits: &Limits) -> Option<MemorySwap> {
    let twice = limits
        .memory
        .map(|memory| MemorySwap::Bytes(memory.saturating_mul(2)));
    limits.memory_swap.or(twice)
}

fn memory_v1(limits: &Limits, settings: &mut Vec<Setting>) {
    if let Some(memory) = limits.memory {
        settings.push(must("memory", "memory.limit_in_bytes", memory.to_string()));
    }
    let value = match total(limits) {
        Some(MemorySwap::Bytes(bytes)) => bytes.to_string(),
        Some(MemorySwap::Unlimited) => "-1".to_owned(),
        None => return,
    };
    settings.push(swap("memory.memsw.limit_in_bytes", value));
}

fn memory_v2(limits: &Limits, settings: &mut Vec<Setting>) {
    let memory = limits.memory.unwrap_or(0);
    if memory > 0 {
        settings.push(must("memory", "memory.max", memory.to_string()));
    }
    let value = match total(limits) {
        Some(MemorySwap::Bytes(bytes)) => bytes.saturating_sub(memory).to_string(),
        Some(MemorySwap::Unlimited) => "max".to_owned(),
        None => return,
    };
    settings.push(swap("memory.swap.max", value));
}

/// A swap limit: unlimited swap needs no support, any other is missed with a warning.
fn swap(file: &'static str, value: String) -> Setting {
    let unlimited = value == "-1" || value == "max";
    let missing = if unlimited {
        Missing::Ignore
    } else {
        Missing::Warn(NO_SWAP)
    };
    Setting {
        controller: "memory",
        file,
        value,
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 64 << 20;

    fn lines(limits: &Limits, version: Option<Version>) -> Vec<String> {
        let (settings, warnings) = plan(limits, |_| version).unwrap();
        let lines = settings.iter().map(|s| format!("{}={}", s.file, s.value));
        lines
            .chain(
                warnings
                    .iter()
                    .map(|w| w.split(':').nth(1).unwrap().to_owned()),
            )
            .collect()
    }

    #[test]
    fn swap_means_what_docker_means() {
        let limits = |swap| Limits {
            memory: Some(M),
            memory_swap: swap,
            ..Limits::default()
        };
        let v1 = |swap| lines(&limits(swap), Some(Version::V1))[1].clone();
        let v2 = |swap| lines(&limits(swap), Some(Version::V2))[1].clone();
        assert_eq!(v1(None), format!("memory.memsw.limit_in_bytes={}", 2 * M));
        assert_eq!(v2(None), format!("memory.swap.max={M}"));
        assert_eq!(
            v1(Some(MemorySwap::Bytes(M))),
            format!("memory.memsw.limit_in_bytes={M}")
        );
        assert_eq!(v2(Some(MemorySwap::Bytes(M))), "memory.swap.max=0");
        assert_eq!(
            v2(Some(MemorySwap::Bytes(3 * M))),
            format!("memory.swap.max={}", 2 * M)
        );
        assert_eq!(
            v1(Some(MemorySwap::Unlimited)),
            "memory.memsw.limit_in_bytes=-1"
        );
        assert_eq!(v2(Some(MemorySwap::Unlimited)), "memory.swap.max=max");
    }

    #[test]
    fn the_rest_and_what_is_missing() {
        let limits = Limits {
            memory: Some(M),
            cpus: Some(1.5),
            cpuset_cpus: Some("0-1".to_owned()),
            pids: Some(7),
            ..Limits::default()
        };
        assert_eq!(
            lines(&limits, Some(Version::V2))[2..],
            ["cpu.max=150000 100000", "cpuset.cpus=0-1", "pids.max=7"]
        );
        assert!(plan(&limits, |_| None).is_err());
        let limits = Limits {
            cpus: None,
            ..limits
        };
        assert_eq!(
            lines(&limits, None),
            [
                " No memory limit support",
                " No cpuset support",
                " No pids limit support"
            ]
        );
        assert_eq!(
            lines(
                &Limits {
                    pids: Some(-1),
                    ..Limits::default()
                },
                None
            )
            .len(),
            0
        );
    }
}
