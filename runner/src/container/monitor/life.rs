//! One life of a container: what is made for it, in order, and undone in the opposite one.
//!
//! ```text
//!   made                           undone
//!   file system process, mount     unmounted, waited for
//!   control group                  killed, removed
//!   addresses, ports, bridge       given back
//!   first process (init)           waited for; all others in its pid namespace die with it
//! ```

use super::super::directory::Directory;
use super::super::home::Home;
use super::super::neighbour;
use super::super::plan;
use super::super::protocol::Ended;
use super::super::spec::Spec;
use super::super::volume::Volumes;
use super::watch::{Token, Watch};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::init::{self, Stdio, TerminalSize, Waiting};
use crate::mounts::inroot::Root;
use crate::mounts::source::Sources;
use crate::mounts::union::Served;
use crate::network::{Attachment, Join, Source, Wanted};
use crate::sys::process::Child;
use crate::sys::program;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// What was made and must be undone.
#[derive(Debug, Default)]
pub(super) struct Life {
    cgroup: Option<Cgroup>,
    network: Option<Attachment>,
    union: Option<Served>,
    /// The file system process has ended by itself.
    union_lost: bool,
    init: Option<Waiting>,
    /// Those who look after commands that joined.
    overseers: Vec<Child>,
}

/// What a start needs besides the specification.
pub(super) struct Needs<'a> {
    pub(super) spec: &'a Spec,
    pub(super) directory: &'a Directory,
    /// The protected program that this process is executed from.
    pub(super) program: Option<&'a OwnedFd>,
    pub(super) streams: Option<Stdio>,
    pub(super) terminal: Option<TerminalSize>,
}

impl Life {
    /// Makes everything up to the running command; gives its terminal, if it has one. What was
    /// made is kept here whatever happens.
    pub(super) fn begin(
        &mut self,
        needs: Needs<'_>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<OwnedFd>> {
        let (spec, directory) = (needs.spec, needs.directory);
        // The last of ours to be executed from the protected program, which then is made such that nothing
        // can be. A sealed copy in memory refuses that.
        let allow_execution = |allowed| {
            let allow = |program| program::allow_execution(program, allowed);
            needs.program.map(allow)
        };
        let _ = allow_execution(true);
        // It mounts while the rest is made.
        let union = self.union.insert(plan::union(spec, directory).start()?);
        let limits = spec.limits.for_cgroup();
        let devices = spec.rights.device_policy(plan::device_rules(spec)?);
        let (cgroup, warnings) = Cgroup::create(spec.id.as_str(), &limits, devices)?;
        let cgroup = self.cgroup.insert(cgroup);
        warnings.into_iter().for_each(&mut *warn);
        let home = Home::of(directory);
        let name = home.name(&spec.id)?;
        let network = Attachment::make(&plan::network(spec, &name, directory))?;
        let network = self.network.insert(network);
        network.notices().iter().cloned().for_each(warn);
        let inside = match &spec.network.source {
            Source::Container(id) => neighbour::network(&home, id)?,
            _ => network.inside(),
        };
        union.ready()?;
        // Not earlier: the kernel may still be mapping the program.
        let _ = allow_execution(false);
        fill_volumes(spec, directory)?;
        let unknown = TerminalSize {
            rows: 0,
            columns: 0,
        };
        let terminal = needs.terminal.unwrap_or(unknown);
        let plan = plan::init(spec, directory, &cgroup.view(), inside, terminal)?;
        let sources = Sources::open(&plan.mounts)?;
        let init = init::spawn(&plan, sources, needs.streams, cgroup);
        let init = self
            .init
            .insert(init.map_err(Error::system("make the container's first process"))?);
        network.plug(init.child.pid)?;
        Ok(init.go()?)
    }

    /// The first process, in the host's numbers.
    pub(super) fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, |init| init.child.pid)
    }

    /// The first process's handle.
    pub(super) fn init(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(|init| init.child.pidfd.as_fd())
    }

    /// Puts it on one more network.
    pub(super) fn connect(&mut self, wanted: &Wanted<'_>, join: &Join) -> Result<()> {
        let pid = self.pid();
        match &mut self.network {
            Some(network) => Ok(network.connect(wanted, join, pid)?),
            None => Err(Error::MonitorDied),
        }
    }

    /// Takes it off a network.
    pub(super) fn disconnect(&mut self, name: &str) -> Result<()> {
        let pid = self.pid();
        match &mut self.network {
            Some(network) => Ok(network.disconnect(name, pid)?),
            None => Err(Error::MonitorDied),
        }
    }

    /// Its control group.
    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Somebody looks after a command that joins.
    pub(super) fn add_overseer(&mut self, overseer: Child) {
        self.overseers.push(overseer);
    }

    /// One of them has ended.
    pub(super) fn reap_overseer(&mut self, pid: i32) {
        self.overseers.retain(|overseer| {
            let ended = overseer.pid == pid;
            if ended {
                // How does not matter: its client was told.
                let _ = exit_code(&overseer.pidfd);
            }
            !ended
        });
    }

    /// What to wait for.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if let Some(init) = &self.init {
            watch.add(init.child.pidfd.as_fd(), PollFlags::IN, Token::Init);
        }
        for overseer in &self.overseers {
            let token = Token::Overseer(overseer.pid);
            watch.add(overseer.pidfd.as_fd(), PollFlags::IN, token);
        }
        if let Some(union) = self.union.as_ref().filter(|_| !self.union_lost) {
            watch.add(union.pidfd(), PollFlags::IN, Token::Union);
        }
    }

    /// The file system process has ended: that is known now.
    pub(super) fn forget_union(&mut self) {
        self.union_lost = true;
    }

    /// Signals the first process, which may have ended.
    pub(super) fn signal(&self, number: i32) {
        let signal = Signal::from_named_raw(number);
        if let (Some(init), Some(signal)) = (&self.init, signal) {
            let _ = pidfd_send_signal(&init.child.pidfd, signal);
        }
    }

    /// Kills the first process, frozen or not.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL.as_raw());
        if let Some(cgroup) = &self.cgroup {
            // Where there is no freezer, nothing is frozen.
            let _ = cgroup.thaw();
        }
    }

    /// How the first process ended; waits for that.
    pub(super) fn end(&self) -> Result<Ended> {
        let code = match &self.init {
            Some(init) => exit_code(&init.child.pidfd)?,
            None => return Err(Error::MonitorDied),
        };
        let cgroup = self.cgroup.as_ref();
        Ok(Ended {
            code,
            out_of_memory: match cgroup.map(Cgroup::oom_killed) {
                Some(told) => told?,
                None => false,
            },
            memory_limit: cgroup.and_then(Cgroup::memory_limit),
        })
    }

    /// Undoes what was made; tells what could not be.
    pub(super) fn undo(self) -> Vec<Error> {
        let mut problems = Vec::new();
        if self.init.is_some() {
            self.kill();
        }
        if let Some(init) = self.init {
            // Reaped before, in the usual case.
            let _ = exit_code(&init.child.pidfd);
        }
        if let Some(cgroup) = &self.cgroup {
            problems.extend(cgroup.kill_all().err().map(Error::from));
        }
        for overseer in &self.overseers {
            // Its command is dead by now.
            let _ = exit_code(&overseer.pidfd);
        }
        let detached = self.network.map_or(Ok(()), Attachment::undo);
        problems.extend(detached.err().map(Error::from));
        if let Some(union) = self.union {
            problems.extend(union.unmount().err().map(Error::from));
        }
        if let Some(cgroup) = &self.cgroup {
            problems.extend(cgroup.remove().err().map(Error::from));
        }
        problems
    }
}

/// Gives volumes that were never used what the image has at their places.
fn fill_volumes(spec: &Spec, directory: &Directory) -> Result<()> {
    let wanted = spec.volumes.iter().filter(|volume| volume.copy);
    let mut wanted = wanted
        .filter_map(|volume| Some((volume.name.as_deref()?, volume)))
        .peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let path = directory.join("rootfs");
    let root = Root::open(&path).map_err(|errno| Error::io("open", &path)(errno.into()))?;
    let volumes = Volumes::at(directory.root());
    for (name, volume) in wanted {
        volumes.fill(name, &root, &volume.target)?;
    }
    Ok(())
}

/// Waits for a process; its status, or 128 and its signal.
pub(super) fn exit_code(process: &OwnedFd) -> Result<u8> {
    let ended = loop {
        match waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(Error::system("wait for the container"))?,
        }
    };
    let code = ended.and_then(|status| match status.exit_status() {
        Some(code) => Some(code),
        None => status.terminating_signal().map(|signal| 128 + signal),
    });
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}
