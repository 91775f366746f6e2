//! A command that joins a container which runs already: `exec`.
//!
//! ```text
//!   overseer        guide                                  command
//!   join: clone3 ─> control group
//!                   setns: all namespaces of pid 1
//!                   clone3(CLONE_PARENT) ────────────────> in the pid namespace, the overseer's child
//!   <── Joined(handle) ── exit                             session, user, work directory, pty
//!   <── Terminal(master) ───────────────────────────────── stdio; every other descriptor closed
//!                                                          capabilities, ids, no_new_privs, seccomp
//!   <── Failed(what, on what, why) ─────────────────────── … at any step; or
//!   <──────── end of the channel ───────────────────────── exec
//! ```
//!
//! Guide and command are not dumpable from before they join: nobody inside can look into them, or
//! reach a descriptor of theirs by /proc. They are executed from the protected program, as the
//! monitor is that they are forked from (CVE-2019-5736).

use super::child::{
    allow_oom_kill, close_all_but, die_with_monitor, give_up, give_up_rights, go_to_work, start,
    step, use_streams, use_terminal,
};
use super::failure::Failure;
use super::user::{self, Identity};
use super::{Program, Report, Stdio, TerminalSize};
use crate::cgroup::Cgroup;
use crate::mounts::apply::Terminal;
use crate::mounts::inroot::{Missing, Root};
use crate::sys::channel::{Channel, Received};
use crate::sys::process::{
    Child, Forked, clone_into, clone_sibling, default_signals, exit_now, new_session_keyring, reap,
};
use nix::sched::{CloneFlags, setns};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, WaitId, WaitIdOptions, set_dumpable_behavior, setsid, umask, waitid,
};
use std::convert::Infallible;
use std::io;
use std::path::Path;

/// What is joined.
#[derive(Debug)]
pub struct Target<'a> {
    /// The handle of its first process.
    pub init: BorrowedFd<'a>,
    /// Its control group.
    pub cgroup: &'a Cgroup,
}

/// What the command's standard streams are.
#[derive(Debug)]
pub enum Streams {
    /// A new terminal of the container, of this size.
    Terminal(TerminalSize),
    /// These.
    Given(Stdio),
}

/// A command that has joined.
#[derive(Debug)]
pub struct Joined {
    /// Its handle; it is the caller's child.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if it has one.
    pub master: Option<OwnedFd>,
}

/// Starts a command in a container; returns when it runs. The caller must be single-threaded.
pub fn join(target: &Target<'_>, program: &Program, streams: Streams) -> Result<Joined, Failure> {
    let lost = |error: io::Error| Failure::setup("talk to", "the command", error);
    let (ours, theirs) = Channel::pair().map_err(lost)?;
    let cloned = clone_into(0, target.cgroup.unified_fd());
    let guide = match step("start", "the command", cloned)? {
        Forked::Parent(guide) => guide.pid,
        Forked::Child => {
            drop(ours);
            match guide(target, &theirs) {
                Ok(()) => command(program, streams, theirs),
                Err(failure) => give_up(&theirs, failure),
            }
        }
    };
    drop((theirs, streams));
    let heard = hear(&ours).map_err(lost);
    reap(guide);
    let heard = heard?;
    match (heard.failure, heard.pidfd) {
        (None, Some(pidfd)) => Ok(Joined {
            pidfd,
            master: heard.master,
        }),
        (failure, pidfd) => {
            if let Some(pidfd) = pidfd {
                // It has given up, and is to be taken off the list.
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            }
            let gone = || Failure::setup("join", "the container", "it has just ended");
            Err(failure.unwrap_or_else(gone))
        }
    }
}

/// All that guide and command have said.
#[derive(Default)]
struct Heard {
    pidfd: Option<OwnedFd>,
    master: Option<OwnedFd>,
    failure: Option<Failure>,
}

fn hear(channel: &Channel) -> io::Result<Heard> {
    let mut heard = Heard::default();
    loop {
        match channel.receive::<Report>()? {
            Received::Message(Report::Joined, fds) => heard.pidfd = fds.into_iter().next(),
            Received::Message(Report::Terminal, fds) => heard.master = fds.into_iter().next(),
            Received::Message(Report::Failed(failure), _) => heard.failure = Some(failure),
            Received::End => return Ok(heard),
        }
    }
}

/// Joins, and makes the command's process; returns in that one only.
fn guide(target: &Target<'_>, channel: &Channel) -> Result<(), Failure> {
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    step("hide", "the process", hidden)?;
    let what = "join";
    let entered = target.cgroup.enter();
    step(what, "the container's control group", entered)?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    step(what, "the container", setns(target.init, all))?;
    match step("start", "the command", clone_sibling())? {
        Forked::Child => Ok(()),
        Forked::Parent(Child { pidfd, .. }) => {
            // The overseer waits for both of us, so it is there.
            let _ = channel.send(&Report::Joined, &[pidfd.as_fd()]);
            exit_now(0)
        }
    }
}

/// The command's own steps, as in [`super::child`]. Never returns.
fn command(program: &Program, streams: Streams, channel: Channel) -> ! {
    let identity = match prepare(program, streams, &channel) {
        Ok(identity) => identity,
        Err(failure) => give_up(&channel, failure),
    };
    let channel = match close_all_but(channel) {
        Ok(channel) => channel,
        Err(_) => exit_now(125),
    };
    match become_command(program, &identity) {
        Ok(never) => match never {},
        Err(failure) => give_up(&channel, failure),
    }
}

fn prepare(program: &Program, streams: Streams, channel: &Channel) -> Result<Identity, Failure> {
    die_with_monitor()?;
    step("start", "a session", setsid().map(drop))?;
    umask(Mode::empty());
    allow_oom_kill(program.oom_score_adj)?;
    let root = step("open", "/", Root::open(Path::new("/")))?;
    let identity = user::identify(&root, program)?;
    go_to_work(program, &root, Missing::Fail)?;
    // Keyrings may be missing or refused (seccomp of an outer container): no harm then.
    let _ = new_session_keyring();
    match streams {
        Streams::Terminal(size) => {
            let terminal = step("", "", Terminal::open(&root))?;
            use_terminal(&terminal, Some(size), &identity, channel)?;
        }
        Streams::Given(stdio) => use_streams(&stdio, &identity)?,
    }
    Ok(identity)
}

fn become_command(program: &Program, identity: &Identity) -> Result<Infallible, Failure> {
    umask(Mode::from_raw_mode(0o022));
    give_up_rights(program, identity)?;
    default_signals();
    start(program, identity)
}
