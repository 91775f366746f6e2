//! The flags of the rarer limits.

use super::Args;
use crate::cgroup::{self, Rate, RateKind, Tuning};
use crate::container::spec::ProcessLimits;
use crate::error::{Error, Result};
use crate::init::{Rlimit, check_sysctl};
use crate::network::Source;

fn value(flag: &'static str, text: &str, why: impl Into<String>) -> Error {
    Error::Value {
        flag,
        value: text.to_owned(),
        why: why.into(),
    }
}

/// Those of control groups.
pub(super) fn tuning(args: &Args) -> Result<Tuning> {
    let size = |flag, text: &Option<String>| match text {
        Some(text) => cgroup::parse_size(flag, text).map(|bytes| (bytes > 0).then_some(bytes)),
        None => Ok(None),
    };
    let swappiness = match args.memory_swappiness {
        None | Some(-1) => None,
        Some(number) => Some(u64::try_from(number).map_err(|_| {
            value(
                "--memory-swappiness",
                &number.to_string(),
                "want a number from 0 to 100, or -1",
            )
        })?),
    };
    let mut rates = Vec::new();
    let kinds = [
        (
            "--device-read-bps",
            RateKind::ReadBytes,
            &args.device_read_bps,
        ),
        (
            "--device-write-bps",
            RateKind::WriteBytes,
            &args.device_write_bps,
        ),
        (
            "--device-read-iops",
            RateKind::ReadOperations,
            &args.device_read_iops,
        ),
        (
            "--device-write-iops",
            RateKind::WriteOperations,
            &args.device_write_iops,
        ),
    ];
    for (flag, kind, texts) in kinds {
        for text in texts {
            rates.push(Rate::parse(flag, kind, text)?);
        }
    }
    let mems = args.cpuset_mems.clone().filter(|list| !list.is_empty());
    if let Some(list) = &mems {
        cgroup::parse_cpuset(list)
            .map_err(|_| value("--cpuset-mems", list, "want numbers and ranges, as 0-1"))?;
    }
    let given = |number: Option<u64>| number.filter(|number| *number > 0);
    Ok(Tuning {
        memory_reservation: size("--memory-reservation", &args.memory_reservation)?,
        memory_swappiness: swappiness,
        oom_kill_disable: args.oom_kill_disable,
        cpu_shares: given(args.cpu_shares),
        cpu_period: given(args.cpu_period),
        cpu_quota: given(args.cpu_quota),
        cpuset_mems: mems,
        blkio_weight: given(args.blkio_weight),
        rates,
    })
}

/// Those of processes.
pub(super) fn process(args: &Args, source: &Source) -> Result<ProcessLimits> {
    let mut limits = ProcessLimits {
        oom_score_adj: args.oom_score_adj,
        ..ProcessLimits::default()
    };
    if let Some(score) = args
        .oom_score_adj
        .filter(|score| !(-1000..=1000).contains(score))
    {
        let why = "want a number from -1000 to 1000";
        return Err(value("--oom-score-adj", &score.to_string(), why));
    }
    for text in &args.ulimit {
        let limit = Rlimit::parse(text).map_err(|why| value("--ulimit", text, why))?;
        limits.rlimits.retain(|other| other.name != limit.name);
        limits.rlimits.push(limit);
    }
    for text in &args.sysctl {
        let split = text.split_once('=');
        let (name, setting) = split.ok_or_else(|| value("--sysctl", text, "want NAME=VALUE"))?;
        let own_network = !matches!(source, Source::Host | Source::Container(_));
        check_sysctl(name, own_network).map_err(|why| value("--sysctl", text, why))?;
        limits.sysctls.push((name.to_owned(), setting.to_owned()));
    }
    Ok(limits)
}

/// The size of /dev/shm.
pub(super) fn shm(args: &Args) -> Result<Option<u64>> {
    let size = args.shm_size.as_deref();
    let size = size
        .map(|text| cgroup::parse_size("--shm-size", text))
        .transpose()?;
    Ok(size.filter(|bytes| *bytes > 0))
}
