//! The rarer limits: weights, reservations, rates of disks. Parsed, checked, and turned into files.
//!
//! On a machine that lacks one of them it is a warning, as with docker: nothing of them is there to
//! keep anybody in.

use super::hierarchy::Version;
use super::limits::refuse;
use super::settings::{Missing, Setting};
use super::{CgroupError, Limits, parse_size};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The rarer limits; `None` is what the kernel does by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// `--memory-reservation`: bytes left to it when memory is short.
    pub memory_reservation: Option<u64>,
    /// `--memory-swappiness`: 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpu-shares`: weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// `--cpu-period`: microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`: microseconds in each period.
    pub cpu_quota: Option<u64>,
    /// `--cpuset-mems`: list of memory nodes.
    pub cpuset_mems: Option<String>,
    /// `--blkio-weight`: 10 to 1000.
    pub blkio_weight: Option<u64>,
    /// `--device-read-bps` and the like.
    pub rates: Vec<Rate>,
}

/// How much may be read from, or written to, a disk in a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// What is counted.
    pub kind: RateKind,
    /// The device's number.
    pub device: (u32, u32),
    /// How many.
    pub rate: u64,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateKind {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Operations that read.
    ReadOperations,
    /// Operations that write.
    WriteOperations,
}

impl Rate {
    /// The value of `flag`: `/dev/NAME:RATE`.
    ///
    /// # Errors
    /// No block device, no rate.
    pub fn parse(flag: &'static str, kind: RateKind, text: &str) -> Result<Self, CgroupError> {
        let bad = |why: String| refuse(flag, text, why);
        let split = text.rsplit_once(':');
        let (path, rate) = split.ok_or_else(|| bad("want /dev/NAME:RATE".to_owned()))?;
        let bytes = matches!(kind, RateKind::ReadBytes | RateKind::WriteBytes);
        let rate = match bytes {
            true => parse_size(flag, rate)?,
            false => {
                let number = rate.parse();
                number.map_err(|_| bad("want a number of operations a second".to_owned()))?
            }
        };
        if rate == 0 {
            return Err(bad("a rate of 0 would be a standstill".to_owned()));
        }
        let meta = Path::new(path).metadata();
        let meta = meta.map_err(|error| bad(format!("{path}: {error}")))?;
        if !meta.file_type().is_block_device() {
            return Err(bad(format!("{path} is no block device")));
        }
        let number = meta.rdev();
        let device = (rustix::fs::major(number), rustix::fs::minor(number));
        Ok(Self { kind, device, rate })
    }
}

impl Tuning {
    /// Checks them against each other and against the other limits.
    ///
    /// # Errors
    /// [`CgroupError::Limit`] naming the flag.
    pub fn check(&self, limits: &Limits) -> Result<(), CgroupError> {
        let within = |flag, value: Option<u64>, least: u64, most: u64| match value {
            Some(value) if !(least..=most).contains(&value) => {
                let why = format!("want a number from {least} to {most}");
                Err(refuse(flag, &value.to_string(), why))
            }
            _ => Ok(()),
        };
        within("--memory-swappiness", self.memory_swappiness, 0, 100)?;
        within("--cpu-shares", self.cpu_shares, 2, 262_144)?;
        within("--cpu-period", self.cpu_period, 1_000, 1_000_000)?;
        within("--cpu-quota", self.cpu_quota, 1_000, u64::MAX >> 20)?;
        within("--blkio-weight", self.blkio_weight, 10, 1000)?;
        let reserved = self.memory_reservation.unwrap_or(0);
        if limits.memory.is_some_and(|memory| reserved > memory) {
            let why = "is more than the limit itself (--memory)".to_owned();
            return Err(refuse("--memory-reservation", &reserved.to_string(), why));
        }
        if limits.cpus.is_some() && (self.cpu_period.is_some() || self.cpu_quota.is_some()) {
            let cpus = limits.cpus.unwrap_or_default().to_string();
            let why = "goes not with --cpu-period and --cpu-quota: it is both".to_owned();
            return Err(refuse("--cpus", &cpus, why));
        }
        Ok(())
    }

    /// The controllers that they need.
    pub(super) fn needed(&self) -> impl Iterator<Item = &'static str> {
        let memory = self.memory_reservation.is_some()
            || self.memory_swappiness.is_some()
            || self.oom_kill_disable;
        let cpu = [self.cpu_shares, self.cpu_period, self.cpu_quota];
        let io = self.blkio_weight.is_some() || !self.rates.is_empty();
        [
            ("memory", memory),
            ("cpu", cpu.iter().any(Option::is_some)),
            ("cpuset", self.cpuset_mems.is_some()),
            ("io", io),
        ]
        .into_iter()
        .filter_map(|(name, needed)| needed.then_some(name))
    }

    /// The files to write.
    pub(super) fn plan(
        &self,
        version: &impl Fn(&str) -> Option<Version>,
        settings: &mut Vec<Setting>,
        warn: &mut impl FnMut(&str),
    ) {
        let mut set = |controller, file, value: String, missing| {
            settings.push(Setting {
                controller,
                file,
                value,
                missing: Missing::Warn(missing),
            });
        };
        match version("memory") {
            Some(version) => self.memory(version, &mut set, warn),
            None if self.needed().any(|name| name == "memory") => warn(NO_MEMORY),
            None => {}
        }
        match version("cpu") {
            Some(version) => self.cpu(version, &mut set),
            None if self.needed().any(|name| name == "cpu") => warn(NO_CPU),
            None => {}
        }
        if let Some(mems) = &self.cpuset_mems {
            match version("cpuset") {
                Some(_) => set("cpuset", "cpuset.mems", mems.clone(), NO_MEMS),
                None => warn(NO_MEMS),
            }
        }
        match (version("blkio"), version("io")) {
            (Some(_), _) => self.blkio(&mut set),
            (None, Some(_)) => self.io(&mut set),
            (None, None) if self.needed().any(|name| name == "io") => warn(NO_IO),
            (None, None) => {}
        }
    }

    fn memory(
        &self,
        version: Version,
        set: &mut impl FnMut(&'static str, &'static str, String, &'static str),
        warn: &mut impl FnMut(&str),
    ) {
        let v1 = version == Version::V1;
        if let Some(bytes) = self.memory_reservation {
            let file = if v1 {
                "memory.soft_limit_in_bytes"
            } else {
                "memory.low"
            };
            set("memory", file, bytes.to_string(), NO_RESERVATION);
        }
        match self.memory_swappiness {
            Some(value) if v1 => {
                set(
                    "memory",
                    "memory.swappiness",
                    value.to_string(),
                    NO_SWAPPINESS,
                );
            }
            Some(_) => warn(NO_SWAPPINESS),
            None => {}
        }
        match self.oom_kill_disable {
            true if v1 => set(
                "memory",
                "memory.oom_control",
                "1".to_owned(),
                NO_OOM_DISABLE,
            ),
            true => warn(NO_OOM_DISABLE),
            false => {}
        }
    }

    fn cpu(
        &self,
        version: Version,
        set: &mut impl FnMut(&'static str, &'static str, String, &'static str),
    ) {
        if let Some(shares) = self.cpu_shares {
            match version {
                Version::V1 => set("cpu", "cpu.shares", shares.to_string(), NO_CPU),
                // As runc does it: 2 to 262144 onto 1 to 10000.
                Version::V2 => {
                    let weight = 1 + (shares - 2) * 9999 / 262_142;
                    set("cpu", "cpu.weight", weight.to_string(), NO_CPU);
                }
            }
        }
        if self.cpu_period.is_none() && self.cpu_quota.is_none() {
            return;
        }
        let period = self.cpu_period.unwrap_or(100_000);
        match version {
            Version::V1 => {
                set("cpu", "cpu.cfs_period_us", period.to_string(), NO_CPU);
                if let Some(quota) = self.cpu_quota {
                    set("cpu", "cpu.cfs_quota_us", quota.to_string(), NO_CPU);
                }
            }
            Version::V2 => {
                let quota = self.cpu_quota.map_or("max".to_owned(), |q| q.to_string());
                set("cpu", "cpu.max", format!("{quota} {period}"), NO_CPU);
            }
        }
    }

    fn blkio(&self, set: &mut impl FnMut(&'static str, &'static str, String, &'static str)) {
        if let Some(weight) = self.blkio_weight {
            set("blkio", "blkio.weight", weight.to_string(), NO_WEIGHT);
        }
        for rate in &self.rates {
            let file = match rate.kind {
                RateKind::ReadBytes => "blkio.throttle.read_bps_device",
                RateKind::WriteBytes => "blkio.throttle.write_bps_device",
                RateKind::ReadOperations => "blkio.throttle.read_iops_device",
                RateKind::WriteOperations => "blkio.throttle.write_iops_device",
            };
            let (major, minor) = rate.device;
            set(
                "blkio",
                file,
                format!("{major}:{minor} {}", rate.rate),
                NO_IO,
            );
        }
    }

    fn io(&self, set: &mut impl FnMut(&'static str, &'static str, String, &'static str)) {
        if let Some(weight) = self.blkio_weight {
            // 10 to 1000 onto 1 to 10000.
            let weight = 1 + (weight - 10) * 9999 / 990;
            set("io", "io.weight", format!("default {weight}"), NO_WEIGHT);
        }
        for rate in &self.rates {
            let key = match rate.kind {
                RateKind::ReadBytes => "rbps",
                RateKind::WriteBytes => "wbps",
                RateKind::ReadOperations => "riops",
                RateKind::WriteOperations => "wiops",
            };
            let (major, minor) = rate.device;
            set(
                "io",
                "io.max",
                format!("{major}:{minor} {key}={}", rate.rate),
                NO_IO,
            );
        }
    }
}

const NO_MEMORY: &str =
    "WARNING: No memory support: the memory controller is not mounted; settings discarded";
const NO_RESERVATION: &str =
    "WARNING: No memory reservation support: this kernel has none; setting discarded";
const NO_SWAPPINESS: &str =
    "WARNING: No memory swappiness support: these control groups have none; setting discarded";
const NO_OOM_DISABLE: &str =
    "WARNING: The OOM killer cannot be disabled: these control groups have no switch for it";
const NO_CPU: &str =
    "WARNING: No cpu weights or quotas: this kernel has none here; setting discarded";
const NO_MEMS: &str = "WARNING: No cpuset support: cpuset.mems is not there; setting discarded";
const NO_IO: &str = "WARNING: No block IO limits: this kernel has none here; setting discarded";
const NO_WEIGHT: &str =
    "WARNING: No block IO weight support: this kernel has none; setting discarded";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tuning: &Tuning, names: &[(&str, Version)]) -> (Vec<String>, usize) {
        let (mut settings, mut warnings) = (Vec::new(), 0);
        let version = |wanted: &str| {
            let found = names.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, version)| *version)
        };
        tuning.plan(&version, &mut settings, &mut |_| warnings += 1);
        let lines = settings.iter().map(|s| format!("{}={}", s.file, s.value));
        (lines.collect(), warnings)
    }

    #[test]
    fn the_files_of_both_versions() {
        let tuning = Tuning {
            memory_reservation: Some(1024),
            memory_swappiness: Some(7),
            oom_kill_disable: true,
            cpu_shares: Some(1024),
            cpu_quota: Some(20_000),
            blkio_weight: Some(500),
            rates: vec![Rate {
                kind: RateKind::WriteBytes,
                device: (8, 0),
                rate: 99,
            }],
            ..Tuning::default()
        };
        let v1 = ["memory", "cpu", "blkio"].map(|name| (name, Version::V1));
        let wanted = [
            "memory.soft_limit_in_bytes=1024",
            "memory.swappiness=7",
            "memory.oom_control=1",
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=20000",
            "blkio.weight=500",
            "blkio.throttle.write_bps_device=8:0 99",
        ];
        let (found, warnings) = lines(&tuning, &v1);
        assert_eq!(
            (found.as_slice(), warnings),
            (&wanted.map(String::from)[..], 0)
        );
        let v2 = ["memory", "cpu", "io"].map(|name| (name, Version::V2));
        let wanted = [
            "memory.low=1024",
            "cpu.weight=39",
            "cpu.max=20000 100000",
            "io.weight=default 4950",
            "io.max=8:0 wbps=99",
        ];
        let (found, warnings) = lines(&tuning, &v2);
        assert_eq!(
            (found.as_slice(), warnings),
            (&wanted.map(String::from)[..], 2)
        );
        assert_eq!(lines(&tuning, &[]), (Vec::new(), 3));
    }

    #[test]
    fn nonsense_is_refused() {
        let limits = Limits {
            memory: Some(1 << 30),
            cpus: Some(1.0),
            ..Limits::default()
        };
        let bad = [
            Tuning {
                memory_swappiness: Some(101),
                ..Tuning::default()
            },
            Tuning {
                cpu_shares: Some(1),
                ..Tuning::default()
            },
            Tuning {
                blkio_weight: Some(9),
                ..Tuning::default()
            },
            Tuning {
                memory_reservation: Some(2 << 30),
                ..Tuning::default()
            },
            Tuning {
                cpu_quota: Some(5000),
                ..Tuning::default()
            },
        ];
        for tuning in bad {
            assert!(tuning.check(&limits).is_err(), "{tuning:?}");
        }
        assert!(Tuning::default().check(&limits).is_ok());
        let kind = RateKind::ReadBytes;
        for text in ["", "/dev/null:1m", "/not/there:1m", "/dev/null", "/:1"] {
            assert!(
                Rate::parse("--device-read-bps", kind, text).is_err(),
                "{text}"
            );
        }
    }
}
