//! The container's root file system: a layerfs mount served by a process of its own.
//!
//! ```text
//!   monitor ──spawn──> runner __layerfs ──mounts──> ROOT/containers/ID/rootfs
//!           ──Union──>                               (in the monitor's mount namespace)
//!           <──Ready──                              ... serves until unmounted
//! ```
//!
//! The process dies with the monitor (`PR_SET_PDEATHSIG`), and the mount goes with the mount
//! namespace. This is the only file that knows the layerfs library.

use crate::sys::channel::{Channel, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitid,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// The hidden verb that serves one union.
pub const VERB: &str = "__layerfs";

/// How long an unmounted union may take to write out and end.
const GRACE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// How long the kernel may believe what it knows of layers that change behind us.
const CHANGING: Duration = Duration::from_secs(1);

/// What to mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Union {
    /// Read-only layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The writable diff.
    pub upper: PathBuf,
    /// Scratch beside it.
    pub work: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// The name in the container's `/proc/mounts`.
    pub name: String,
    /// The lower layers change behind us (the host's own tree): cache for a second only.
    pub changing: bool,
    /// The upper goes with the container: nothing in it needs to reach the disk.
    pub volatile: bool,
}

/// Why the union is not there.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// The process could not be started or talked to.
    #[error("layerfs: cannot {what}: {source}")]
    Process {
        /// The action, as a verb phrase.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The process says why.
    #[error("root file system: {0}")]
    Mount(String),
    /// The process ended without a word.
    #[error("layerfs: the file system process ended before it served; see monitor.log")]
    Died,
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Ready,
    Failed(String),
}

/// A union that is served, or about to be.
#[derive(Debug)]
pub struct Served {
    target: PathBuf,
    pidfd: OwnedFd,
    /// Where its answer comes, until it has.
    answer: Option<Channel>,
}

impl Union {
    /// Starts the process and returns when the union is mounted.
    pub fn serve(&self) -> Result<Served, UnionError> {
        let mut served = self.start()?;
        match served.ready() {
            Ok(()) => Ok(served),
            Err(problem) => {
                // Of the two, the first tells more.
                let _ = served.unmount();
                Err(problem)
            }
        }
    }

    /// Starts the process, which mounts the union while its caller does something else.
    pub fn start(&self) -> Result<Served, UnionError> {
        let failed = |what| move |source| UnionError::Process { what, source };
        let (ours, theirs) = Channel::pair().map_err(failed("make a channel"))?;
        let child = Command::new("/proc/self/exe")
            .arg0("runner-layerfs")
            .arg(VERB)
            // For those who look at the list of processes.
            .arg(&self.target)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::from(theirs.into_socket()))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed("start the file system process"))?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        let pidfd = pidfd.map_err(failed("watch the file system process"))?;
        // If that fails, so does listening.
        let _ = ours.send(self, &[]);
        Ok(Served {
            target: self.target.clone(),
            pidfd,
            answer: Some(ours),
        })
    }
}

impl Served {
    /// Waits until the union is mounted.
    ///
    /// # Errors
    /// Why it is not; what there is of it still wants [`Served::unmount`].
    pub fn ready(&mut self) -> Result<(), UnionError> {
        let Some(channel) = &self.answer else {
            return Ok(());
        };
        match channel.receive::<Answer>() {
            Ok(Received::Message(Answer::Ready, _)) => {
                self.answer = None;
                Ok(())
            }
            Ok(Received::Message(Answer::Failed(why), _)) => Err(UnionError::Mount(why)),
            Ok(Received::End) => Err(UnionError::Died),
            Err(source) => Err(UnionError::Process {
                what: "talk to the file system process",
                source,
            }),
        }
    }

    /// Readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Unmounts and waits for the process, which writes out what it still holds.
    pub fn unmount(self) -> Result<(), UnionError> {
        let unused = self.answer.is_some();
        if unused {
            // Before it mounts behind us.
            self.reap(true);
        }
        let gone = match unmount(&self.target, UnmountFlags::empty()) {
            Err(Errno::BUSY) => unmount(&self.target, UnmountFlags::DETACH),
            // Not a mount point: the process has died and taken it along.
            Err(Errno::INVAL) => Ok(()),
            other => other,
        };
        if !unused {
            self.reap(gone.is_err());
        }
        gone.map_err(|errno| UnionError::Process {
            what: "unmount the root file system",
            source: errno.into(),
        })
    }

    /// Waits for the end of the process; kills it at once or when its time is over.
    fn reap(&self, kill: bool) {
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let ended = !kill && matches!(poll(&mut watched, Some(&GRACE)), Ok(n) if n > 0);
        if !ended {
            // Already ended is as good.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The hidden verb: serves the union told on standard input until it is unmounted.
pub fn main() -> ExitCode {
    let parent = getppid();
    let channel = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => Channel::from_socket(socket),
        Err(_) => return ExitCode::FAILURE,
    };
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() || parent != getppid() {
        return ExitCode::FAILURE;
    }
    // The container's processes shall be the OOM killer's choice, not the file system under
    // them. Refused without CAP_SYS_RESOURCE: then the usual rules hold.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let Ok(Received::Message(union, _)) = channel.receive::<Union>() else {
        return ExitCode::FAILURE;
    };
    match run(&union, &channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = channel.send(&Answer::Failed(why), &[]);
            ExitCode::FAILURE
        }
    }
}

/// Serves to the end; an error only if nothing was mounted.
fn run(union: &Union, channel: &Channel) -> Result<(), String> {
    use layerfs::ops::FileSystem;
    use layerfs::transport::{MountOptions, prepare_process, serve};
    use layerfs::types::{Config, Metacopy, UpperConfig};
    prepare_process();
    let config = Config {
        lowers: union.lowers.clone(),
        upper: Some(UpperConfig {
            upper: union.upper.clone(),
            work: union.work.clone(),
        }),
        read_only: false,
        volatile: union.volatile,
        trust_redirect: false,
        metacopy: Metacopy::Upper,
        noatime: false,
    };
    let file_system = FileSystem::open(&config).map_err(|error| error.to_string())?;
    let mut options = MountOptions {
        fsname: union.name.clone().into(),
        ..MountOptions::default()
    };
    if union.changing {
        options.timeout = CHANGING;
    }
    let mut mounted = false;
    let ready = || mounted = channel.send(&Answer::Ready, &[]).is_ok();
    let ended = serve(file_system, &union.target, &options, ready);
    match ended {
        Ok(()) => Ok(()),
        Err(error) if mounted => {
            eprintln!("runner: {error}");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}
