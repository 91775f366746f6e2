//! What a process is given before it gives up its rights: resource limits, the kernel's settings of
//! its namespaces, and its place in the OOM killer's order.

use super::child::step;
use super::failure::Failure;
use nix::sys::resource::{Resource, setrlimit};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use serde::{Deserialize, Serialize};
use std::path::Path;

const PROC_MAGIC: i64 = 0x9fa0;

/// One of `setrlimit(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// `nofile`, `core`, ...: as `ulimit` of docker names it.
    pub name: String,
    /// In force; `u64::MAX` is none.
    pub soft: u64,
    /// The most that the process can set itself.
    pub hard: u64,
}

/// The limits that there are.
const RESOURCES: [(&str, Resource); 15] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

impl Rlimit {
    /// `NAME=SOFT[:HARD]`; -1 is no limit.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, limits) = text.split_once('=').ok_or("want NAME=SOFT[:HARD]")?;
        if !RESOURCES.iter().any(|(known, _)| *known == name) {
            let known: Vec<_> = RESOURCES.iter().map(|(known, _)| *known).collect();
            return Err(format!("no such limit; there are {}", known.join(", ")));
        }
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            text => text.parse().map_err(|_| format!("{text:?} is no number")),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err("the soft limit cannot be above the hard one".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            soft,
            hard,
        })
    }

    fn set(&self) -> Result<(), Failure> {
        let resource = RESOURCES.iter().find(|(name, _)| *name == self.name);
        let Some((_, resource)) = resource else {
            return Err(Failure::setup("set the limit", &self.name, "there is none"));
        };
        step(
            "set the limit",
            &self.name,
            setrlimit(*resource, self.soft, self.hard),
        )
    }
}

/// Sets all of them.
pub(super) fn set_limits(limits: &[Rlimit]) -> Result<(), Failure> {
    limits.iter().try_for_each(Rlimit::set)
}

/// Whether a setting of the kernel belongs to a container's own namespaces; with the machine's
/// network, those of the network do not.
///
/// # Errors
/// Why it cannot be set, in words.
pub fn check_sysctl(name: &str, own_network: bool) -> Result<(), String> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let plain = |part: &str| {
        let usual = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        !part.is_empty() && part.bytes().all(usual)
    };
    if !name.split('.').all(plain) {
        return Err("want a name as net.ipv4.ip_forward".to_owned());
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return Ok(());
    }
    match name.starts_with("net.") {
        true if own_network => Ok(()),
        true => Err("is the machine's own with this --network".to_owned()),
        false => Err(
            "is not a setting of the container but of the whole machine; those of net.*, \
             fs.mqueue.* and of System V IPC can be set"
                .to_owned(),
        ),
    }
}

/// Sets kernel settings of the namespaces that the caller is in. The /proc may be any.
pub(super) fn set_sysctls(sysctls: &[(String, String)]) -> Result<(), Failure> {
    for (name, value) in sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        write_proc("set", &path.display().to_string(), value)?;
    }
    Ok(())
}

/// Places the caller in the OOM killer's order.
pub(super) fn set_oom_score(score: i32) -> Result<(), Failure> {
    write_proc("set", "/proc/self/oom_score_adj", &score.to_string())
}

fn write_proc(what: &str, path: &str, value: &str) -> Result<(), Failure> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = step(what, path, openat(CWD, path, flags, Mode::empty()))?;
    if step(what, path, fstatfs(&file))?.f_type != PROC_MAGIC {
        return Err(Failure::setup(what, path, "is not in procfs"));
    }
    step(what, path, rustix::io::write(&file, value.as_bytes()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_settings_are_checked() {
        let limit = Rlimit::parse("nofile=10:20").unwrap();
        assert_eq!((limit.soft, limit.hard), (10, 20));
        assert_eq!(Rlimit::parse("core=-1").unwrap().hard, u64::MAX);
        for bad in [
            "",
            "nofile",
            "frob=1",
            "nofile=x",
            "nofile=2:1",
            "nofile=1:",
        ] {
            assert!(Rlimit::parse(bad).is_err(), "{bad}");
        }
        assert!(check_sysctl("net.ipv4.ip_forward", true).is_ok());
        assert!(check_sysctl("net.ipv4.ip_forward", false).is_err());
        assert!(check_sysctl("kernel.shmmax", false).is_ok());
        for bad in [
            "kernel.panic",
            "vm.swappiness",
            "net..x",
            "net/ipv4",
            "",
            "net.../x",
        ] {
            assert!(check_sysctl(bad, true).is_err(), "{bad}");
        }
    }
}
