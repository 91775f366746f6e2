//! What `run` and `create` have in common: flags in, a container's specification out.
//!
//! ```text
//!   Args (raw text) ──specify──> Spec (validated) ──Home::create──> directory
//! ```

mod environment;
mod flags;
mod health;
mod labels;
mod network;
mod streams;
mod tuning;
mod volumes;

pub(super) use environment::add as add_environment;
pub(super) use flags::Args;
pub(super) use labels::plain as plain_labels;
pub(super) use network::alias;
pub(super) use streams::{following, wanted_streams};

use super::{output, pull};
use crate::cgroup;
use crate::container::directory::Directory;
use crate::container::home::Home;
use crate::container::spec::{
    Command, HOST_IMAGE, Limits, LogChoice, Policy, Restart, Rights, Seccomp, Spec, Stop,
};
use crate::container::volume::Volumes;
use crate::container::{Id, Lock, check_name, signals};
use crate::error::{Error, Result};
use crate::image::{Config, Image, Store};
use crate::logs;
use crate::network::{Settings, Source, check_hostname};
use crate::types::Moment;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Seconds between asking and killing unless told otherwise; as docker's.
const STOP_SECONDS: i64 = 10;

/// A container that was just made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) home: Home,
    pub(super) directory: Directory,
    pub(super) lock: Lock,
    pub(super) spec: Spec,
}

/// Makes the container; `attached` tells whether it is made for the caller's streams.
pub(super) fn make(args: &Args, root: &Path, attached: bool) -> Result<Made> {
    let home = output::open_home(root)?;
    let store = Store::open(root)?;
    let image = match args.pull.as_str() {
        "missing" => pull::provide(&store, &args.image, false)?,
        "always" => pull::provide(&store, &args.image, true)?,
        "never" => store.resolve(&args.image)?,
        other => {
            return Err(Error::Value {
                flag: "--pull",
                value: other.to_owned(),
                why: "want missing, always or never".to_owned(),
            });
        }
    };
    let network = network::settings(args, image.start(), &home, &mut |text| output::warn(&text))?;
    let mounts = volumes::mounts(args, image.start(), &home)?;
    let mut spec = specify(args, &image, network)?;
    spec.command.input_once = attached && spec.command.input;
    let cidfile = args.cidfile.as_deref().map(open_cidfile).transpose()?;
    // Volumes are made last, when all else is known to be right, and stay until they are referred to.
    let held = if mounts.wanted.is_empty() && mounts.others.is_empty() {
        None
    } else {
        let store = Volumes::at(root);
        let held = store.hold()?;
        for wanted in mounts.wanted {
            spec.volumes.push(store.provide(wanted, &held)?);
        }
        Some(held)
    };
    spec.volumes.extend(mounts.others);
    spec.tmpfs = mounts.tmpfs;
    let (directory, lock) = home.create(&spec, args.name.as_deref())?;
    drop(held);
    // Its layers are pinned by now.
    drop(image);
    if let (Some(mut file), Some(path)) = (cidfile, &args.cidfile) {
        let written = file.write_all(spec.id.as_str().as_bytes());
        written.map_err(Error::io("write", path))?;
    }
    Ok(Made {
        home,
        directory,
        lock,
        spec,
    })
}

fn open_cidfile(path: &str) -> Result<std::fs::File> {
    let options = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    options.map_err(Error::io("make the id file", path))
}

/// The validated specification; what is mounted comes later.
fn specify(args: &Args, image: &Image, network: Settings) -> Result<Spec> {
    let id = Id::new()?;
    if let Some(name) = &args.name {
        check_name("--name", name)?;
    }
    let hostname = match &args.hostname {
        Some(hostname) => {
            check_hostname(hostname)?;
            hostname.clone()
        }
        None => id.short().to_owned(),
    };
    let limits = limits(args, &network.source)?;
    limits.for_cgroup().check()?;
    let rights = rights(args)?;
    // Bad names and profiles are told before anything is made.
    rights.filter()?;
    Ok(Spec {
        created: Moment::now(),
        image: args.image.clone(),
        image_id: image.id.clone(),
        lowers: image.lowers(),
        labels: labels::labels(args, image.start())?,
        remove: args.rm,
        stop: stop(args, image.start())?,
        restart: restart(args)?,
        log: log(args)?,
        command: command(args, image.start(), &hostname)?,
        id,
        hostname,
        volumes: Vec::new(),
        tmpfs: Vec::new(),
        read_only: args.read_only,
        network,
        limits,
        rights,
        health: health::check(args, image.start())?,
    })
}

fn stop(args: &Args, image: &Config) -> Result<Stop> {
    let of_image = Some(image.stop_signal.as_str()).filter(|signal| !signal.is_empty());
    let signal = args.stop_signal.as_deref().or(of_image);
    let seconds = args.stop_timeout.or(image.stop_timeout);
    Ok(Stop {
        signal: signals::parse("--stop-signal", signal.unwrap_or("SIGTERM"))?,
        seconds: seconds.unwrap_or(STOP_SECONDS),
    })
}

fn restart(args: &Args) -> Result<Restart> {
    let bad = |why| Error::Value {
        flag: "--restart",
        value: args.restart.clone(),
        why,
    };
    let restart: Restart = args.restart.parse().map_err(bad)?;
    if args.rm && restart.policy != Policy::No {
        return Err(bad(
            "goes not with --rm: what is removed cannot start again".to_owned(),
        ));
    }
    Ok(restart)
}

fn log(args: &Args) -> Result<LogChoice> {
    let bad = |value: &str, why: &str| Error::Value {
        flag: "--log-opt",
        value: value.to_owned(),
        why: why.to_owned(),
    };
    match args.log_driver.as_str() {
        "none" => match args.log_opt.first() {
            Some(option) => return Err(bad(option, "goes not with --log-driver none")),
            None => return Ok(LogChoice::None),
        },
        "json-file" => {}
        other => {
            return Err(Error::Value {
                flag: "--log-driver",
                value: other.to_owned(),
                why: "want json-file or none".to_owned(),
            });
        }
    }
    let mut limits = logs::Limits::default();
    for option in &args.log_opt {
        match option.split_once('=') {
            Some(("max-size", "-1")) => limits.size = u64::MAX,
            Some(("max-size", size)) => limits.size = cgroup::parse_size("--log-opt", size)?,
            Some(("max-file", count)) => {
                let count = count.parse().ok().filter(|n| (1..=1000).contains(n));
                limits.files = count.ok_or_else(|| bad(option, "want a number from 1 to 1000"))?;
            }
            _ => return Err(bad(option, "want max-size=SIZE or max-file=NUMBER")),
        }
    }
    Ok(LogChoice::JsonFile(limits))
}

fn command(args: &Args, image: &Config, hostname: &str) -> Result<Command> {
    let (entrypoint, mut cmd) = match &args.entrypoint {
        // An entry point of the user's own takes none of the image's arguments.
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), args.command.clone()),
        Some(entrypoint) => (vec![entrypoint.clone()], args.command.clone()),
        None if args.command.is_empty() => (image.entrypoint.clone(), image.cmd.clone()),
        None => (image.entrypoint.clone(), args.command.clone()),
    };
    if entrypoint.is_empty() && cmd.is_empty() && args.image == HOST_IMAGE {
        let shell = std::env::var("SHELL").ok();
        let shell = shell.filter(|shell| shell.starts_with('/'));
        cmd.push(shell.unwrap_or_else(|| "/bin/sh".to_owned()));
    }
    if entrypoint.is_empty() && cmd.is_empty() {
        return Err(Error::NoCommand {
            image: args.image.clone(),
        });
    }
    Ok(Command {
        entrypoint,
        cmd,
        env: environment::environment(args, image, hostname)?,
        cwd: work_directory(args.workdir.as_deref(), image)?,
        user: args.user.clone().unwrap_or_else(|| image.user.clone()),
        groups: args.group_add.clone(),
        terminal: args.tty,
        input: args.interactive || args.attach.iter().any(|s| s.eq_ignore_ascii_case("stdin")),
        input_once: false,
        small_init: args.init,
    })
}

fn work_directory(given: Option<&str>, image: &Config) -> Result<PathBuf> {
    let of_image = (!image.working_dir.is_empty()).then_some(image.working_dir.as_str());
    let text = given.or(of_image).unwrap_or("/");
    if !text.starts_with('/') || text.contains('\0') {
        return Err(Error::Value {
            flag: "-w",
            value: text.to_owned(),
            why: "the work directory must start with /".to_owned(),
        });
    }
    Ok(PathBuf::from(text))
}

fn limits(args: &Args, network: &Source) -> Result<Limits> {
    let memory = args
        .memory
        .as_deref()
        .map(cgroup::parse_memory)
        .transpose()?;
    let swap = args
        .memory_swap
        .as_deref()
        .map(cgroup::parse_memory_swap)
        .transpose()?;
    let cpus = args.cpus.as_deref().map(cgroup::parse_cpus).transpose()?;
    let cpuset = args
        .cpuset_cpus
        .as_deref()
        .map(cgroup::parse_cpuset)
        .transpose()?;
    let pids = args
        .pids_limit
        .as_deref()
        .map(cgroup::parse_pids)
        .transpose()?;
    Ok(Limits {
        memory: memory.flatten(),
        memory_swap: swap.flatten().map(|swap| match swap {
            cgroup::MemorySwap::Unlimited => -1,
            cgroup::MemorySwap::Bytes(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
        }),
        cpus: cpus.flatten(),
        cpuset_cpus: cpuset.flatten(),
        // Asked for no limit is not the same as not asked.
        pids: pids.map(|limit| limit.unwrap_or(-1)),
        tuning: tuning::tuning(args)?,
        shm: tuning::shm(args)?,
        process: tuning::process(args, network)?,
    })
}

fn rights(args: &Args) -> Result<Rights> {
    let mut rights = Rights {
        privileged: args.privileged,
        add: args.cap_add.clone(),
        drop: args.cap_drop.clone(),
        seccomp: Seccomp::Default,
        no_new_privileges: !args.privileged,
        devices: Vec::new(),
    };
    for text in &args.device {
        let wish = text.parse().map_err(|why| Error::Value {
            flag: "--device",
            value: text.clone(),
            why,
        })?;
        rights.devices.push(wish);
    }
    for option in &args.security_opt {
        let (name, value) = match option.split_once(['=', ':']) {
            Some((name, value)) => (name, Some(value)),
            None => (option.as_str(), None),
        };
        match (name, value) {
            ("no-new-privileges", None | Some("true")) => rights.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => rights.no_new_privileges = false,
            ("seccomp", Some("unconfined")) => rights.seccomp = Seccomp::Unconfined,
            ("seccomp", Some("default" | "builtin")) => rights.seccomp = Seccomp::Default,
            ("seccomp", Some(file)) if !file.is_empty() => {
                let path = std::path::absolute(file).map_err(Error::io("use", file))?;
                rights.seccomp = Seccomp::File(path);
            }
            // No such confinement is applied anyway.
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            _ => {
                return Err(Error::Value {
                    flag: "--security-opt",
                    value: option.clone(),
                    why: "want seccomp=FILE, seccomp=unconfined or no-new-privileges[=false]"
                        .to_owned(),
                });
            }
        }
    }
    Ok(rights)
}
