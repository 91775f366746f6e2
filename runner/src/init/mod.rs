//! What happens between clone and exec: the first process of a container's pid namespace.
//!
//! ```text
//!   monitor                          child (pid 1 of the container)
//!   spawn: clone3(NEWNS|NEWPID|…) ──> enters the control group
//!   gives it its network
//!   Go ─────────────────────────────> cgroup namespace, host name, network
//!                                     tree, pivot_root             (mounts)
//!   <──────────── Terminal(master) ── pty, if any
//!                                     user, work directory, root sealed
//!                                     stdio, session; every other descriptor closed
//!                                     capabilities, ids, no_new_privs, seccomp
//!   <── Failed(what, on what, why) ── … at any step; or
//!   <──────── end of the channel ──── exec
//! ```
//!
//! A process that joins later ([`join`]) goes the same way from the user on.
//!
//! The monitor is single-threaded when it clones, so the child may run ordinary Rust code. The
//! child never returns into the monitor's code: it execs or exits.

mod child;
mod exec;
mod failure;
pub mod join;
mod reaper;
mod tuned;
mod user;

pub use failure::{Failure, Kind};
pub use tuned::{Rlimit, check_sysctl};

use crate::cgroup::Cgroup;
use crate::mounts::plan::Plan as MountPlan;
use crate::mounts::source::Sources;
use crate::network::Inside;
use crate::security::{CapabilitySet, Filter};
use crate::sys::channel::{Channel, Received};
use crate::sys::process::{Child, Forked, clone_into};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// What the first process does before it becomes the command.
#[derive(Debug)]
pub struct Plan {
    /// The tree.
    pub mounts: MountPlan,
    /// Host name.
    pub hostname: String,
    /// The network.
    pub network: Inside,
    /// The kernel's settings of the namespaces.
    pub sysctls: Vec<(String, String)>,
    /// The command.
    pub program: Program,
    /// A pseudo terminal of this size is the command's stdio.
    pub terminal: Option<TerminalSize>,
    /// A small init stays as pid 1 and the command is its child.
    pub small_init: bool,
}

/// A command in a container, and what it may do.
#[derive(Debug)]
pub struct Program {
    /// Command and arguments; the command is looked for in the container's PATH.
    pub args: Vec<String>,
    /// Environment; HOME is added if missing.
    pub env: Vec<(String, String)>,
    /// Directory to start in, made if missing.
    pub cwd: PathBuf,
    /// `user[:group]` by name or number; empty is root.
    pub user: String,
    /// What the command may do as root.
    pub capabilities: CapabilitySet,
    /// The system calls it may use.
    pub filter: Filter,
    /// Its resource limits, where they differ.
    pub rlimits: Vec<Rlimit>,
    /// Its place in the OOM killer's order, if it is to have one of its own.
    pub oom_score_adj: Option<i32>,
    /// More supplementary groups, by name or number.
    pub groups: Vec<String>,
    /// Programs cannot gain rights by set-user-id or file capabilities.
    pub no_new_privileges: bool,
}

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The command's standard streams when it has no terminal.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub input: OwnedFd,
    /// Standard output.
    pub output: OwnedFd,
    /// Standard error.
    pub error: OwnedFd,
}

/// From the monitor to the child: the network is ready.
#[derive(Debug, Serialize, Deserialize)]
struct Go;

/// From the child to the monitor.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The command's handle comes with it: it has joined.
    Joined,
    /// The pty's master comes with it.
    Terminal,
    /// It is over.
    Failed(Failure),
}

/// A cloned child that waits to be told to go on.
#[derive(Debug)]
pub struct Waiting {
    /// The process.
    pub child: Child,
    channel: Channel,
}

/// Clones the child into its namespaces and its control group, where it waits.
///
/// `stdio` and the sources are the child's from here on; the caller's copies are closed.
pub fn spawn(
    plan: &Plan,
    sources: Sources,
    stdio: Option<Stdio>,
    cgroup: &Cgroup,
) -> io::Result<Waiting> {
    let (ours, theirs) = Channel::pair()?;
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    if plan.network.is_own() {
        flags |= libc::CLONE_NEWNET;
    }
    match clone_into(flags, cgroup.unified_fd())? {
        Forked::Parent(child) => Ok(Waiting {
            child,
            channel: ours,
        }),
        Forked::Child => {
            drop(ours);
            child::run(plan, sources, stdio, cgroup, theirs)
        }
    }
}

impl Waiting {
    /// Lets the child go on; returns when it has become the command, with the terminal's master
    /// if it has one.
    pub fn go(&self) -> Result<Option<OwnedFd>, Failure> {
        let lost = |error: io::Error| Failure::setup("talk to", "the first process", error);
        self.channel.send(&Go, &[]).map_err(lost)?;
        let mut master = None;
        loop {
            match self.channel.receive::<Report>().map_err(lost)? {
                Received::Message(Report::Terminal, fds) => master = fds.into_iter().next(),
                Received::Message(Report::Failed(failure), _) => return Err(failure),
                Received::Message(Report::Joined, _) => {}
                Received::End => return Ok(master),
            }
        }
    }
}
