//! `runner run`: a command in a new container.
//!
//! ```text
//!   Args (raw text) ──request──> Spec (validated) ──Home::create──> directory ──client──> end
//! ```

mod environment;
mod flags;

pub(super) use flags::Args;

use super::output;
use crate::cgroup;
use crate::container::home::{check_name, now};
use crate::container::spec::{Command, HOST_IMAGE, Limits, Rights, Seccomp, Spec};
use crate::container::volume::{self, Tmpfs, Volume};
use crate::container::{Id, client};
use crate::error::{Error, Result};
use crate::image::{Config, Image, Store};
use crate::network::{self, HostEntry, Mode, NameServers};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Runs the container and gives the exit code of its command.
pub(super) fn run(args: Args, root: &Path) -> Result<u8> {
    if args.interactive && args.tty && !std::io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let home = output::open_home(root)?;
    let image = Store::open(root)?.resolve(&args.image)?;
    let spec = specify(&args, &image)?;
    let files = files(&args, &spec)?;
    let (directory, lock) = home.create(&spec, &files)?;
    let mut warn = |text: &str| output::warn(&text);
    let guard = image.into_guard();
    let ended = match client::run_attached(&spec, &directory, lock, guard, &mut warn) {
        Err(Error::MonitorDied) => {
            for problem in home.sweep()? {
                warn(&format!("WARNING: {problem}"));
            }
            return Err(Error::MonitorDied);
        }
        other => other?,
    };
    if ended.out_of_memory {
        output::complain(&out_of_memory(&ended));
    }
    Ok(ended.code)
}

fn out_of_memory(ended: &client::Ended) -> String {
    let who = if ended.code == 137 {
        "the container"
    } else {
        "a process of the container"
    };
    match ended.memory_limit {
        Some(limit) => format!(
            "out of memory: {who} was killed at its limit of {} (raise it with -m)",
            binary_size(limit)
        ),
        None => format!("out of memory: {who} was killed"),
    }
}

fn binary_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units
        .iter()
        .find(|(shift, _)| bytes >> shift > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// The validated specification.
fn specify(args: &Args, image: &Image) -> Result<Spec> {
    let id = Id::new()?;
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let hostname = match &args.hostname {
        Some(hostname) => {
            network::check_hostname(hostname)?;
            hostname.clone()
        }
        None => id.short().to_owned(),
    };
    let volumes = args
        .volume
        .iter()
        .map(|text| Volume::parse(text))
        .collect::<Result<Vec<_>>>()?;
    let tmpfs = args
        .tmpfs
        .iter()
        .map(|text| Tmpfs::parse(text))
        .collect::<Result<Vec<_>>>()?;
    let targets = volumes.iter().map(|volume| volume.target.as_path());
    volume::check_targets(targets.chain(tmpfs.iter().map(|tmpfs| tmpfs.target.as_path())))?;
    let limits = limits(args)?;
    limits.for_cgroup().check()?;
    let rights = rights(args)?;
    // Bad names and profiles are told before anything is made.
    rights.filter()?;
    Ok(Spec {
        name: args.name.clone(),
        created: now(),
        image: args.image.clone(),
        lowers: image.lowers(),
        remove: args.rm,
        command: command(args, &image.config, &hostname)?,
        id,
        hostname,
        volumes,
        tmpfs,
        read_only: args.read_only,
        network: args.network.parse::<Mode>()?.into(),
        limits,
        rights,
    })
}

fn command(args: &Args, image: &Config, hostname: &str) -> Result<Command> {
    let mut words = match &args.entrypoint {
        // An entry point of the user's own takes none of the image's arguments.
        Some(entrypoint) if entrypoint.is_empty() => args.command.clone(),
        Some(entrypoint) => {
            let mut words = vec![entrypoint.clone()];
            words.extend(args.command.iter().cloned());
            words
        }
        None => {
            let given = if args.command.is_empty() {
                &image.cmd
            } else {
                &args.command
            };
            image.entrypoint.iter().chain(given).cloned().collect()
        }
    };
    if words.is_empty() && args.image == HOST_IMAGE {
        let shell = std::env::var("SHELL")
            .ok()
            .filter(|shell| shell.starts_with('/'));
        words.push(shell.unwrap_or_else(|| "/bin/sh".to_owned()));
    }
    if words.is_empty() {
        return Err(Error::NoCommand {
            image: args.image.clone(),
        });
    }
    Ok(Command {
        args: words,
        env: environment::environment(args, image, hostname)?,
        cwd: work_directory(args.workdir.as_deref(), image)?,
        user: args.user.clone().unwrap_or_else(|| image.user.clone()),
        terminal: args.tty,
        input: args.interactive,
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

fn limits(args: &Args) -> Result<Limits> {
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
    })
}

fn rights(args: &Args) -> Result<Rights> {
    let mut rights = Rights {
        privileged: args.privileged,
        add: args.cap_add.clone(),
        drop: args.cap_drop.clone(),
        seccomp: Seccomp::Default,
        no_new_privileges: !args.privileged,
    };
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

/// The files that are shown below `/etc`.
fn files(args: &Args, spec: &Spec) -> Result<[(&'static str, String); 3]> {
    // Without the host's own, its part is simply empty.
    let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mode: Mode = args.network.parse()?;
    let extra = args
        .add_host
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<HostEntry>, _>>();
    let servers = args.dns.iter().map(|text| network::parse_dns(text));
    let search = args
        .dns_search
        .iter()
        .map(|text| network::parse_dns_search(text));
    let wanted = NameServers {
        servers: servers.collect::<Result<_, _>>()?,
        search: search.collect::<Result<_, _>>()?,
        options: Vec::new(),
    };
    let hosts = network::hosts_file(mode, &spec.hostname, &host("/etc/hosts"), &extra?);
    Ok([
        ("hosts", hosts),
        ("hostname", network::hostname_file(&spec.hostname)),
        (
            "resolv.conf",
            network::resolv_conf(&host("/etc/resolv.conf"), &wanted),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(binary_size(64 << 20), "64 MiB");
        assert_eq!(binary_size(3 << 30), "3 GiB");
        assert_eq!(binary_size(1000), "1000 bytes");
    }
}
