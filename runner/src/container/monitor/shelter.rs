//! The control group of the monitors: in at the start, removed after the last of them.
//!
//! ```text
//!   born in the caller's group ──clone into runner/monitors──> the monitor; the first one ends
//!   end ──clone into the root──> janitor: waits for the monitor's end, removes the group, ends
//! ```
//!
//! A process that is moved between groups of v2 waits for a lock that all forks of the machine share;
//! one that is born in a group does not. And nobody can remove the group that it is in.

use crate::cgroup::{CgroupError, Monitors};
use crate::sys::process::{Child, Forked, clone_into, close_others, exit_now};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// How often the group is made while others remove it.
const ATTEMPTS: u32 = 20;

/// How long the janitor waits for processes that outlive their monitor, as the network's caretaker.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who goes on as the monitor.
pub(super) enum Place {
    /// This process.
    Here,
    /// A child of it.
    Child,
}

/// Goes into the group of the monitors. The caller is single-threaded.
pub(super) fn enter() -> Result<Place, CgroupError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let group = Monitors::provide()?;
        // The last monitor's janitor may remove it at any moment before somebody is in it.
        let entered = group.enter().and_then(|()| match group.unified_fd() {
            None => Ok(Place::Here),
            Some(unified) => match clone_into(0, Some(unified)) {
                Ok(Forked::Parent(_)) => Ok(Place::Child),
                Ok(Forked::Child) => Ok(Place::Here),
                Err(source) => Err(CgroupError::Io {
                    what: "be born in",
                    path: "runner/monitors".into(),
                    source,
                }),
            },
        });
        match entered {
            Err(error) if is_gone(&error) => last = Some(error),
            other => return other,
        }
    }
    last.map_or(Ok(Place::Here), Err)
}

fn is_gone(error: &CgroupError) -> bool {
    let CgroupError::Io { source, .. } = error else {
        return false;
    };
    matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// Leaves the group to be removed once this process has ended. What goes wrong leaves an empty group,
/// which the next monitor's janitor removes.
pub(super) fn leave_to_janitor() {
    let Ok(group) = Monitors::open() else { return };
    let Ok(outside) = group.outside_fd() else {
        return;
    };
    let Ok(monitor) = pidfd_open(getpid(), PidfdFlags::empty()) else {
        return;
    };
    let monitor = Child {
        pid: getpid().as_raw_nonzero().get(),
        pidfd: monitor,
    };
    if let Ok(Forked::Child) = clone_into(0, outside.as_ref().map(AsFd::as_fd)) {
        let _ = clean(&group, &monitor);
        exit_now(0);
    }
}

/// The janitor's life.
fn clean(group: &Monitors, monitor: &Child) -> io::Result<()> {
    rustix::thread::set_name(c"runner-janitor")?;
    let refused = |error: CgroupError| io::Error::other(error.to_string());
    group.leave().map_err(refused)?;
    // Above all the clients' channels and pipes: they wait for the last descriptor.
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    close_others(&[monitor.pidfd.as_fd()])?;
    poll(&mut [PollFd::new(&monitor.pidfd, PollFlags::IN)], None)?;
    let Ok(group) = Monitors::open() else {
        return Ok(());
    };
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    while !group.remove().map_err(refused)? && Instant::now() < deadline {
        // Each has a janitor of its own.
        if group.members().into_iter().any(is_monitor) {
            return Ok(());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

fn is_monitor(pid: i32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim_end().as_bytes() == super::NAME.to_bytes())
}
