//! `runner info`: what this machine and its containers are made of.

use super::super::format::{Format, binary_size};
use super::super::output;
use crate::cgroup;
use crate::container::state::Status;
use crate::error::Result;
use crate::image::Store;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner info
  runner info --format '{{.ContainersRunning}}'")]
pub(in crate::cli) struct Args {
    /// Print as: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(in crate::cli) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let told = gather(root)?;
    match format {
        Format::Usual => output::print(&text(&told)),
        other => output::print(&other.object(&told)?),
    }
}

fn gather(root: &Path) -> Result<Value> {
    let home = output::open_home(root)?;
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for directory in home.all()? {
        match directory.state().map(|state| state.status) {
            Ok(Status::Running | Status::Restarting) => running += 1,
            Ok(Status::Paused) => paused += 1,
            Ok(Status::Created | Status::Exited) => stopped += 1,
            // Gone meanwhile.
            Err(_) => {}
        }
    }
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let memory = rustix::system::sysinfo();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(json!({
        "Containers": running + paused + stopped,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": Store::open(root)?.list()?.len(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Driver": "layerfs",
        "LoggingDriver": "json-file",
        "CgroupVersion": cgroup::versions()?,
        "KernelVersion": word(system.release()),
        "OperatingSystem": os.unwrap_or("unknown").trim_matches('"'),
        "OSType": "linux",
        "Architecture": word(system.machine()),
        "NCPU": processors,
        "MemTotal": (memory.totalram as u64).saturating_mul(memory.mem_unit.into()),
        "Name": word(system.nodename()),
        "DockerRootDir": root,
    }))
}

/// For people, in docker's words and order.
fn text(told: &Value) -> String {
    let plain = |field: &str| match told.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let memory = told["MemTotal"].as_u64().unwrap_or(0);
    let lines = [
        ("Containers", plain("Containers")),
        (" Running", plain("ContainersRunning")),
        (" Paused", plain("ContainersPaused")),
        (" Stopped", plain("ContainersStopped")),
        ("Images", plain("Images")),
        ("Version", plain("ServerVersion")),
        ("Storage Driver", plain("Driver")),
        ("Logging Driver", plain("LoggingDriver")),
        ("Cgroup Version", plain("CgroupVersion")),
        ("Kernel Version", plain("KernelVersion")),
        ("Operating System", plain("OperatingSystem")),
        ("OSType", plain("OSType")),
        ("Architecture", plain("Architecture")),
        ("CPUs", plain("NCPU")),
        ("Total Memory", binary_size(memory)),
        ("Name", plain("Name")),
        ("Root Dir", plain("DockerRootDir")),
    ];
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    lines.collect()
}
