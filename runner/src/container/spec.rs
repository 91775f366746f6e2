//! What a container is: everything its monitor needs to know, checked, kept as `config.json`.
//!
//! Only `update` changes it, through the monitor while the container lives; `state.json` tells how it does.

use super::Id;
use super::health::HealthCheck;
use super::volume::{Tmpfs, Volume};
use crate::cgroup::{self, DevicePolicy, DeviceRule, MemorySwap};
use crate::error::Result;
use crate::init::Rlimit;
use crate::logs;
use crate::network;
use crate::publish::Reach;
use crate::security::{CapabilitySet, Filter, SeccompChoice};
use crate::types::Moment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The name of the image that is the machine's own root directory.
pub const HOST_IMAGE: &str = "host";

/// Processes and threads of a container unless told otherwise.
const PIDS: i64 = 2048;

/// A container as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id.
    pub id: Id,
    /// When it was made.
    pub created: Moment,
    /// The image as it was named.
    pub image: String,
    /// The image's id, if it is in the store.
    pub image_id: Option<String>,
    /// The image's layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Remove the container when it has ended.
    pub remove: bool,
    /// What runs in it.
    pub command: Command,
    /// How it is stopped.
    pub stop: Stop,
    /// Whether it is started again when it has ended.
    pub restart: Restart,
    /// Where what it says is kept.
    pub log: LogChoice,
    /// Host name.
    pub hostname: String,
    /// Host paths shown in it.
    pub volumes: Vec<Volume>,
    /// Temporary file systems in it.
    pub tmpfs: Vec<Tmpfs>,
    /// Its root cannot be written.
    pub read_only: bool,
    /// Its network.
    pub network: network::Settings,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub rights: Rights,
    /// How it is asked whether it is well.
    #[serde(default)]
    pub health: Option<HealthCheck>,
}

/// What runs in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Words before [`Command::cmd`].
    pub entrypoint: Vec<String>,
    /// Command or arguments.
    pub cmd: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Directory to start in.
    pub cwd: PathBuf,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// More groups of the user's.
    #[serde(default)]
    pub groups: Vec<String>,
    /// A pseudo terminal.
    pub terminal: bool,
    /// Standard input is kept open and passed on.
    pub input: bool,
    /// Standard input ends with the first client's.
    pub input_once: bool,
    /// A small init is pid 1.
    pub small_init: bool,
}

impl Command {
    /// Program and arguments.
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }
}

/// How a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The signal that asks it to end.
    pub signal: i32,
    /// Seconds until it is killed; -1 for never.
    pub seconds: i64,
}

/// Whether a container is started again when it has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// When.
    pub policy: Policy,
    /// For [`Policy::OnFailure`]: how often at most; 0 is without end.
    pub retries: u32,
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0.
    OnFailure,
    /// Always, but not when it was stopped by the user.
    Always,
    /// As [`Policy::Always`]; the two differ only where something starts containers at boot.
    UnlessStopped,
}

/// Where what a container says is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogChoice {
    /// Nowhere.
    None,
    /// Beside it, in docker's format.
    JsonFile(logs::Limits),
}

/// What a container may use; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, bytes; -1 is no limit of swap.
    pub memory_swap: Option<i64>,
    /// Processors' worth of time.
    pub cpus: Option<f64>,
    /// List of processors.
    pub cpuset_cpus: Option<String>,
    /// Processes and threads; -1 is no limit.
    pub pids: Option<i64>,
    /// The rarer ones of control groups.
    #[serde(default)]
    pub tuning: cgroup::Tuning,
    /// Bytes of /dev/shm.
    #[serde(default)]
    pub shm: Option<u64>,
    /// Those of processes.
    #[serde(default)]
    pub process: ProcessLimits,
}

/// What each process of a container starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessLimits {
    /// `--ulimit`.
    pub rlimits: Vec<Rlimit>,
    /// `--oom-score-adj`: -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `--sysctl`: names with dots, values.
    pub sysctls: Vec<(String, String)>,
}

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// All capabilities and devices, no filter, nothing hidden.
    pub privileged: bool,
    /// `--cap-add`.
    pub add: Vec<String>,
    /// `--cap-drop`.
    pub drop: Vec<String>,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Programs cannot gain rights.
    pub no_new_privileges: bool,
    /// `--device`.
    #[serde(default)]
    pub devices: Vec<DeviceWish>,
}

/// A device of the machine, or a directory of them, in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceWish {
    /// On the machine.
    pub host: PathBuf,
    /// In the container, below /dev.
    pub inside: PathBuf,
    /// Of the letters r, w, m.
    pub access: String,
}

impl std::str::FromStr for DeviceWish {
    type Err = String;

    /// The value of `--device`: `HOST[:CONTAINER][:rwm]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_access = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
        let parts: Vec<&str> = text.split(':').collect();
        let (host, inside, access) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, access] if is_access(access) => (*host, *host, *access),
            [host, inside] => (*host, *inside, "rwm"),
            [host, inside, access] if is_access(access) => (*host, *inside, *access),
            _ => return Err("want HOST[:CONTAINER][:rwm]".to_owned()),
        };
        let plain = |path: &str| !path.split('/').any(|part| part == "..");
        if !inside.starts_with("/dev/") || inside.len() < 6 || !plain(inside) {
            return Err("devices of a container are below /dev: want HOST:/dev/NAME".to_owned());
        }
        let meta = std::fs::metadata(host).map_err(|error| format!("{host}: {error}"))?;
        let kind = meta.file_type();
        use std::os::unix::fs::FileTypeExt;
        if !(kind.is_char_device() || kind.is_block_device() || kind.is_dir()) {
            return Err(format!("{host} is no device"));
        }
        Ok(Self {
            host: PathBuf::from(host),
            inside: PathBuf::from(inside),
            access: access.to_owned(),
        })
    }
}

/// Which system call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// The built-in profile.
    Default,
    /// None.
    Unconfined,
    /// A profile in docker's format.
    File(PathBuf),
}

impl Spec {
    /// Whether the layers change behind the container.
    pub fn lowers_change(&self) -> bool {
        self.image == HOST_IMAGE
    }

    /// What of it is written down reaches the disk if the container is to be kept.
    pub fn reach(&self) -> Reach {
        match self.remove {
            true => Reach::Readers,
            false => Reach::Disk,
        }
    }
}

impl std::str::FromStr for Restart {
    type Err = String;

    /// The value of `--restart`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count)),
            None => (text, None),
        };
        let policy = match (name, count) {
            ("no" | "", None) => Policy::No,
            ("on-failure", _) => Policy::OnFailure,
            ("always", None) => Policy::Always,
            ("unless-stopped", None) => Policy::UnlessStopped,
            ("no" | "always" | "unless-stopped", Some(_)) => {
                return Err("a number of retries goes with on-failure only".to_owned());
            }
            _ => return Err("want no, on-failure[:NUMBER], always or unless-stopped".to_owned()),
        };
        let retries = count.unwrap_or("0").parse();
        Ok(Self {
            policy,
            retries: retries.map_err(|_| "want a number after on-failure:".to_owned())?,
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        })
    }
}

impl Limits {
    /// The form that control groups take.
    pub fn for_cgroup(&self) -> cgroup::Limits {
        let swap = self.memory_swap.map(|swap| match u64::try_from(swap) {
            Ok(bytes) => MemorySwap::Bytes(bytes),
            Err(_) => MemorySwap::Unlimited,
        });
        cgroup::Limits {
            memory: self.memory,
            memory_swap: swap,
            cpus: self.cpus,
            cpuset_cpus: self.cpuset_cpus.clone(),
            pids: Some(self.pids_in_force()).filter(|limit| *limit > 0),
            tuning: self.tuning.clone(),
        }
    }

    /// The limit of processes and threads; -1 for none.
    pub fn pids_in_force(&self) -> i64 {
        match self.pids.unwrap_or(PIDS) {
            limit if limit > 0 => limit,
            _ => -1,
        }
    }
}

impl Rights {
    /// The capabilities of root in the container.
    pub fn capabilities(&self) -> Result<CapabilitySet> {
        if self.privileged {
            return Ok(CapabilitySet::all());
        }
        Ok(CapabilitySet::default_container().adjust(&self.add, &self.drop)?)
    }

    /// The compiled system call filter.
    pub fn filter(&self) -> Result<Filter> {
        let choice = match &self.seccomp {
            Seccomp::Default if self.privileged => SeccompChoice::Unconfined,
            Seccomp::Default => SeccompChoice::Default,
            Seccomp::Unconfined => SeccompChoice::Unconfined,
            Seccomp::File(path) => SeccompChoice::File(path.clone()),
        };
        Ok(Filter::compile(&choice, self.capabilities()?)?)
    }

    /// Which devices its processes may open: `more` than the usual.
    pub fn device_policy(&self, more: Vec<DeviceRule>) -> DevicePolicy {
        if self.privileged {
            DevicePolicy::Privileged
        } else {
            DevicePolicy::Container(more)
        }
    }
}
