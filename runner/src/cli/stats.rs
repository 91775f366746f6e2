//! `runner stats`: what containers use, once or again and again.

use super::format::{Column, Format, binary_size, size};
use super::output;
use crate::cgroup::{Cgroup, Usage};
use crate::container::Id;
use crate::container::directory::Directory;
use crate::container::home::Home;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "100 % is all of one processor.

Examples:
  runner stats
  runner stats --no-stream web
  runner stats --no-stream --format '{{.Name}} {{.MemUsage}}'")]
pub(super) struct Args {
    /// Containers that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print once
    #[arg(long)]
    no_stream: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids, or unique beginnings of ids; all that run if none is given
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const COLUMNS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const USUAL: [&str; 8] = [
    "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
];

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let home = output::open_home(root)?;
    let named: Vec<Directory> = args
        .containers
        .iter()
        .map(|name| home.find(name))
        .collect::<Result<_>>()?;
    let machine = machine_memory()?;
    let on_terminal = std::io::stdout().is_terminal() && !args.no_stream;
    let mut before = HashMap::new();
    look(&home, &named, args.all, &mut before, machine)?;
    loop {
        // Processor time is told by the difference of two looks.
        std::thread::sleep(PAUSE);
        let mut rows = look(&home, &named, args.all, &mut before, machine)?;
        if !args.no_trunc {
            rows.iter_mut().for_each(shorten);
        }
        let table = format.list(&rows, COLUMNS, &USUAL)?;
        if on_terminal {
            // The screen is cleared, and the table drawn at its top.
            output::print(&format_args!("\x1b[H\x1b[J{table}"))?;
        } else {
            output::print(&table)?;
        }
        if args.no_stream {
            return Ok(0);
        }
    }
}

fn shorten(row: &mut Value) {
    let short = row["ID"]
        .as_str()
        .and_then(|id| id.get(..12))
        .map(str::to_owned);
    if let Some(short) = short {
        row["ID"] = json!(short);
    }
}

/// A row for each container; keeps what the next look compares with.
fn look(
    home: &Home,
    named: &[Directory],
    all: bool,
    before: &mut HashMap<Id, (Instant, u64)>,
    machine: u64,
) -> Result<Vec<Value>> {
    let everybody = if named.is_empty() {
        home.all()?
    } else {
        named.to_vec()
    };
    let mut rows = Vec::new();
    for directory in everybody {
        // Gone meanwhile, or being made.
        let (Ok(state), Ok(name)) = (directory.state(), home.name(directory.id())) else {
            continue;
        };
        if !state.status.is_alive() && !all && named.is_empty() {
            continue;
        }
        let cgroup = match state.status.is_alive() {
            true => Cgroup::open(directory.id().as_str())?,
            false => None,
        };
        let usage = cgroup.map(|cgroup| cgroup.usage()).unwrap_or_default();
        let now = Instant::now();
        let earlier = before.insert(directory.id().clone(), (now, usage.cpu));
        let share = earlier.map_or(0.0, |(then, cpu)| {
            let passed = now.duration_since(then).as_nanos().max(1) as f64;
            usage.cpu.saturating_sub(cpu) as f64 / passed
        });
        let net = network_bytes(state.pid);
        rows.push(row(directory.id(), &name, &usage, share, net, machine));
    }
    rows.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
    Ok(rows)
}

fn row(
    id: &Id,
    name: &str,
    usage: &Usage,
    share: f64,
    (received, sent): (u64, u64),
    machine: u64,
) -> Value {
    let limit = usage
        .memory_limit
        .map_or(machine, |limit| limit.min(machine));
    let percent = usage.memory as f64 / limit.max(1) as f64 * 100.0;
    json!({
        "ID": id.as_str(),
        "Container": name,
        "Name": name,
        "CPUPerc": format!("{:.2}%", share * 100.0),
        "MemUsage": format!("{} / {}", binary_size(usage.memory), binary_size(limit)),
        "MemPerc": format!("{percent:.2}%"),
        "NetIO": format!("{} / {}", size(received), size(sent)),
        "BlockIO": format!("{} / {}", size(usage.read), size(usage.written)),
        "PIDs": usage.pids.to_string(),
    })
}

/// Bytes that came in and went out of a process's network, loopback left out.
fn network_bytes(pid: i32) -> (u64, u64) {
    if pid <= 0 {
        return (0, 0);
    }
    // Ended meanwhile: nothing.
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    interface_bytes(&text)
}

/// `  eth0: BYTES PACKETS ... (8 of receiving) BYTES ...`
fn interface_bytes(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        sum.0 += numbers.first().copied().unwrap_or(0);
        sum.1 += numbers.get(8).copied().unwrap_or(0);
    }
    sum
}

/// Memory of this machine, in bytes.
fn machine_memory() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.unwrap_or(0) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_traffic() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets\n\
            \x20   lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n\
            \x20 eth0: 100 2 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n\
            \x20 eth1:1 2 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(interface_bytes(text), (101, 9));
    }
}
