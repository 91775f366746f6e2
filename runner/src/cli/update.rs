//! `runner update`: other limits for containers, while they run or before they do.

use super::output;
use crate::cgroup;
use crate::container::client::Control;
use crate::container::home::{Home, Settled};
use crate::container::spec::{Policy, Restart, Spec};
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "What is not given stays as it is.

Examples:
  runner update -m 512m --memory-swap 1g web
  runner update --restart on-failure:3 web db")]
pub(super) struct Args {
    /// Memory limit, as 64m or 2g; at least 6m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit on memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Memory left to it when the machine is short of it
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Processors' worth of time, as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Weight of its processor time
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,
    /// Processors to run on, as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Limit of processes and threads; -1 for none
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// Start it again when it has ended: no, on-failure[:NUMBER], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    output::for_each(&args.containers, |wanted| update(&home, wanted, args))
}

fn update(home: &Home, wanted: &str, args: &Args) -> Result<()> {
    let directory = home.find(wanted)?;
    loop {
        match home.settle(&directory)? {
            Settled::Free(_lock) => {
                let mut spec = directory.spec()?;
                change(&mut spec, args)?;
                return directory.set_spec(&spec);
            }
            Settled::Alive(_) => {
                let mut spec = directory.spec()?;
                change(&mut spec, args)?;
                let control = Control::connect(&directory)?;
                let mut warn = |text: &str| output::warn(&text);
                match control.update(spec.limits, spec.restart, &mut warn) {
                    // It has ended meanwhile.
                    Err(Error::NotRunning(_)) => {}
                    other => return other,
                }
            }
        }
    }
}

/// Changes the specification; all is checked before anything is done.
fn change(spec: &mut Spec, args: &Args) -> Result<()> {
    let limits = &mut spec.limits;
    if let Some(text) = &args.memory {
        limits.memory = cgroup::parse_memory(text)?.or(limits.memory);
    }
    if let Some(text) = &args.memory_swap {
        limits.memory_swap = match cgroup::parse_memory_swap(text)? {
            Some(cgroup::MemorySwap::Unlimited) => Some(-1),
            Some(cgroup::MemorySwap::Bytes(bytes)) => {
                Some(i64::try_from(bytes).unwrap_or(i64::MAX))
            }
            None => limits.memory_swap,
        };
    }
    if let Some(text) = &args.memory_reservation {
        let bytes = cgroup::parse_size("--memory-reservation", text)?;
        limits.tuning.memory_reservation = Some(bytes).filter(|bytes| *bytes > 0);
    }
    if let Some(text) = &args.cpus {
        limits.cpus = cgroup::parse_cpus(text)?.or(limits.cpus);
    }
    if let Some(shares) = args.cpu_shares {
        limits.tuning.cpu_shares = Some(shares).filter(|shares| *shares > 0);
    }
    if let Some(text) = &args.cpuset_cpus {
        limits.cpuset_cpus = cgroup::parse_cpuset(text)?.or(limits.cpuset_cpus.take());
    }
    if let Some(text) = &args.pids_limit {
        limits.pids = Some(cgroup::parse_pids(text)?.unwrap_or(-1));
    }
    if let Some(text) = &args.restart {
        let bad = |why| Error::Value {
            flag: "--restart",
            value: text.clone(),
            why,
        };
        let restart: Restart = text.parse().map_err(bad)?;
        if spec.remove && restart.policy != Policy::No {
            let why = "goes not with --rm: what is removed cannot start again";
            return Err(bad(why.to_owned()));
        }
        spec.restart = restart;
    }
    Ok(spec.limits.for_cgroup().check()?)
}
