//! The child's own steps, in their order. See the picture in [`super`].
//!
//! Why this order: the tree needs all rights and host descriptors, so it comes first; what the
//! image says (users, work directory) is read only when the host's tree is gone; the root is
//! sealed when nothing is to be made any more; descriptors are closed before the command's path
//! is looked at, so that `/proc/self/fd/N` leads nowhere (CVE-2024-21626); rights go last, and
//! the filter is the very last, because each step before needs system calls that it may refuse.

use super::failure::Failure;
use super::tuned;
use super::user::{self, Identity};
use super::{Go, Plan, Program, Report, Stdio, TerminalSize, exec, reaper};
use crate::cgroup::Cgroup;
use crate::mounts::apply::{Terminal, Tree};
use crate::mounts::inroot::{Links, Missing, Root, is_directory};
use crate::mounts::source::Sources;
use crate::sys::channel::{Channel, Received};
use crate::sys::process::{
    Forked, adopt, close_from, default_signals, duplicate_to, exit_now, fork, new_session_keyring,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fchown, fstatfs, openat};
use rustix::process::{
    DumpableBehavior, Signal, fchdir, getcwd, ioctl_tiocsctty, set_dumpable_behavior,
    set_parent_process_death_signal, setsid, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Winsize, tcsetpgrp, tcsetwinsize};
use std::convert::Infallible;
use std::fmt::Display;
use std::os::fd::RawFd;

/// Where the channel to the monitor sits while the command is started.
const CHANNEL: RawFd = 3;

const PROC_MAGIC: i64 = 0x9fa0;

/// Becomes the container's first process. Never returns.
pub(super) fn run(
    plan: &Plan,
    sources: Sources,
    stdio: Option<Stdio>,
    cgroup: &Cgroup,
    channel: Channel,
) -> ! {
    match wait_for_go(cgroup, &channel) {
        Ok(true) => {}
        Ok(false) => exit_now(125),
        Err(failure) => give_up(&channel, failure),
    }
    let identity = match prepare(plan, sources, stdio, &channel) {
        Ok(identity) => identity,
        Err(failure) => give_up(&channel, failure),
    };
    let channel = match close_all_but(channel) {
        Ok(channel) => channel,
        Err(_) => exit_now(125),
    };
    match become_command(plan, &identity) {
        Ok(never) => match never {},
        Err(failure) => give_up(&channel, failure),
    }
}

pub(super) fn give_up(channel: &Channel, failure: Failure) -> ! {
    let code = i32::from(failure.exit_code());
    // If the monitor is gone there is nobody to tell.
    let _ = channel.send(&Report::Failed(failure.clipped()), &[]);
    exit_now(code)
}

/// Enters the control group and waits for the network; false if the monitor has died instead.
fn wait_for_go(cgroup: &Cgroup, channel: &Channel) -> Result<bool, Failure> {
    die_with_monitor()?;
    let done = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    step("hide", "the process", done)?;
    step("enter", "the control group", cgroup.enter())?;
    match channel.receive::<Go>() {
        Ok(Received::Message(Go, _)) => Ok(true),
        Ok(Received::End) => Ok(false),
        Err(error) => Err(Failure::setup("wait for", "the monitor", error)),
    }
}

pub(super) fn die_with_monitor() -> Result<(), Failure> {
    let done = set_parent_process_death_signal(Some(Signal::KILL));
    step("tie", "the process to its monitor", done)
}

/// Everything up to the closing of descriptors.
fn prepare(
    plan: &Plan,
    sources: Sources,
    stdio: Option<Stdio>,
    channel: &Channel,
) -> Result<Identity, Failure> {
    step("start", "a session", setsid().map(drop))?;
    umask(Mode::empty());
    let done = unshare(CloneFlags::CLONE_NEWCGROUP);
    step("make", "a cgroup namespace", done)?;
    let done = rustix::system::sethostname(plan.hostname.as_bytes());
    step("set the host name", &plan.hostname, done)?;
    step("", "", plan.network.enter())?;
    tuned::set_sysctls(&plan.sysctls)?;
    allow_oom_kill(plan.program.oom_score_adj)?;
    let mut tree = step("", "", Tree::build(&plan.mounts, sources))?;
    step("", "", tree.enter())?;
    let terminal = tree.terminal.take();
    let identity = user::identify(tree.root(), &plan.program)?;
    go_to_work(&plan.program, tree.root(), Missing::Directory)?;
    step("", "", tree.seal(&plan.mounts))?;
    // Keyrings may be missing or refused (seccomp of an outer container): no harm then.
    let _ = new_session_keyring();
    match (terminal, stdio) {
        (Some(terminal), _) => use_terminal(&terminal, plan.terminal, &identity, channel)?,
        (None, Some(stdio)) => use_streams(&stdio, &identity)?,
        (None, None) => {}
    }
    Ok(identity)
}

/// The wanted place in the OOM killer's order; a runner protected from it must not hand that on.
pub(super) fn allow_oom_kill(wanted: Option<i32>) -> Result<(), Failure> {
    if let Some(score) = wanted {
        return tuned::set_oom_score(score);
    }
    let (what, path) = ("reset", "/proc/self/oom_score_adj");
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = step(what, path, openat(CWD, path, flags, Mode::empty()))?;
    if step(what, path, fstatfs(&file))?.f_type != PROC_MAGIC {
        return Err(Failure::setup(what, path, "is not in procfs"));
    }
    let mut text = [0; 16];
    let length = step(what, path, rustix::io::read(&file, &mut text))?;
    if text
        .get(..length)
        .is_some_and(|text| text.starts_with(b"-"))
    {
        step(what, path, rustix::io::write(&file, b"0"))?;
    }
    Ok(())
}

/// Makes the work directory the current one; `missing` says what if it is not there.
pub(super) fn go_to_work(program: &Program, root: &Root, missing: Missing) -> Result<(), Failure> {
    let path = program.cwd.display().to_string();
    let what = "work directory";
    let found = root.resolve(&program.cwd, missing, Links::Strict);
    let found = step(what, &path, found)?;
    if !step(what, &path, is_directory(&found))? {
        return Err(Failure::setup(what, &path, "is not a directory"));
    }
    step(what, &path, fchdir(&found))?;
    let here = step(what, &path, getcwd(Vec::new()))?;
    if !here.as_bytes().starts_with(b"/") {
        return Err(Failure::setup(what, &path, "lies outside of the container"));
    }
    Ok(())
}

pub(super) fn use_terminal(
    terminal: &Terminal,
    size: Option<TerminalSize>,
    identity: &Identity,
    channel: &Channel,
) -> Result<(), Failure> {
    let slave = &terminal.slave;
    if let Some(size) = size.filter(|size| size.rows > 0) {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        step("set the size of", "the terminal", tcsetwinsize(slave, size))?;
    }
    let handed = channel.send(&Report::Terminal, &[terminal.master.as_fd()]);
    step("hand over", "the terminal", handed)?;
    step("take", "the terminal", ioctl_tiocsctty(slave))?;
    own(slave, identity);
    put_stdio([slave, slave, slave])
}

pub(super) fn use_streams(stdio: &Stdio, identity: &Identity) -> Result<(), Failure> {
    let streams = [&stdio.input, &stdio.output, &stdio.error];
    for stream in streams {
        own(stream, identity);
    }
    put_stdio(streams)
}

/// Lets the user open `/dev/stdout` and the like. `/dev/null` of the host is left alone.
fn own(stream: &OwnedFd, identity: &Identity) {
    let device = rustix::fs::fstat(stream).map(|stat| stat.st_rdev);
    if identity.uid == 0 || device == Ok(rustix::fs::makedev(1, 3)) {
        return;
    }
    // Refused for odd descriptors: then only the open of that name fails.
    let _ = fchown(stream, Some(rustix::fs::Uid::from_raw(identity.uid)), None);
}

fn put_stdio([input, output, error]: [&OwnedFd; 3]) -> Result<(), Failure> {
    let done = dup2_stdin(input)
        .and_then(|()| dup2_stdout(output))
        .and_then(|()| dup2_stderr(error));
    step("set up", "standard input and output", done)
}

/// Only 0 to 2 and the channel stay open. The caller holds no other descriptor any more; those
/// of the monitor's frames below are never used again, since this process never returns there.
pub(super) fn close_all_but(channel: Channel) -> std::io::Result<Channel> {
    let socket = channel.into_socket();
    let at = std::os::fd::AsRawFd::as_raw_fd(&socket);
    if at == CHANNEL {
        close_from(CHANNEL + 1)?;
        return Ok(Channel::from_socket(socket));
    }
    duplicate_to(&socket, CHANNEL)?;
    drop(socket);
    close_from(CHANNEL + 1)?;
    Ok(Channel::from_socket(adopt(CHANNEL)))
}

fn become_command(plan: &Plan, identity: &Identity) -> Result<Infallible, Failure> {
    let group = plan.terminal.is_some() && plan.small_init;
    umask(Mode::from_raw_mode(0o022));
    give_up_rights(&plan.program, identity)?;
    default_signals();
    if plan.small_init {
        // They are waited for, not handled.
        step("block", "signals", SigSet::all().thread_set_mask())?;
        let done = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        step("hide", "the small init", done)?;
        if let Forked::Parent(child) = step("start", "the command", fork())? {
            // The command's copy of the channel alone shall tell of its exec.
            let _ = close_from(CHANNEL);
            let _ = rustix::thread::set_name(c"runner-init");
            reaper::run(child);
        }
        if group {
            lead_terminal()?;
        }
    }
    start(&plan.program, identity)
}

/// The very last step.
pub(super) fn start(program: &Program, identity: &Identity) -> Result<Infallible, Failure> {
    let mut env = program.env.clone();
    if !env.iter().any(|(key, _)| key == "HOME") {
        env.push(("HOME".to_owned(), identity.home.clone()));
    }
    let unblocked = SigSet::empty().thread_set_mask();
    step("unblock", "signals", unblocked)?;
    Err(exec::exec(&program.args, &env))
}

/// Below the small init the command is a process group of its own, in the foreground.
fn lead_terminal() -> Result<(), Failure> {
    let what = "bring to the foreground of";
    let me = rustix::process::getpid();
    step(what, "the terminal", rustix::process::setpgid(None, None))?;
    // SIGTTOU, which this may raise, is still blocked.
    step(what, "the terminal", tcsetpgrp(rustix::stdio::stdin(), me))
}

pub(super) fn give_up_rights(program: &Program, identity: &Identity) -> Result<(), Failure> {
    tuned::set_limits(&program.rlimits)?;
    step("", "", program.capabilities.drop_bounding())?;
    if !program.no_new_privileges {
        // Allowed by CAP_SYS_ADMIN only, which is about to go.
        step("", "", program.filter.install())?;
    }
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    step("set", "supplementary groups", setgroups(&groups))?;
    let gid = Gid::from_raw(identity.gid);
    step("become", "the group", setresgid(gid, gid, gid))?;
    let uid = Uid::from_raw(identity.uid);
    step("become", "the user", setresuid(uid, uid, uid))?;
    step("", "", program.capabilities.set(identity.uid))?;
    // A change of ids forgets it.
    die_with_monitor()?;
    if program.no_new_privileges {
        let done = rustix::thread::set_no_new_privs(true);
        step("set", "no_new_privs", done)?;
        step("", "", program.filter.install())?;
    }
    Ok(())
}

/// Names the step in which `done` failed; empty names for errors that tell it themselves.
pub(super) fn step<T, E: Display>(what: &str, on: &str, done: Result<T, E>) -> Result<T, Failure> {
    done.map_err(|error| Failure::setup(what, on, error))
}
