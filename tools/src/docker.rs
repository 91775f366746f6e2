//! Debian's docker, unpacked beside the machine's own programs and never installed: that would start
//! a daemon, which would change the machine's network.
//!
//! ```text
//!   docker-N/usr/{bin,sbin}    docker, dockerd, containerd, runc, bwrap     (see [`crate::cache`])
//!   Daemon::start(place)       dockerd with its data, sockets and state in `place`, without a network
//! ```

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cache::{self, run};

/// Grows when what is unpacked changes.
const VERSION: u32 = 1;

/// Debian's packages.
const PACKAGES: [&str; 5] = ["docker.io", "containerd", "runc", "tini", "bubblewrap"];

/// How long the daemon may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The programs, unpacked.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

/// Gives the programs, downloading them if this machine has none yet.
///
/// # Errors
/// If apt-get or dpkg fails; what they said goes to standard error.
pub fn provide() -> io::Result<Programs> {
    let done = cache::provide(&format!("docker-{VERSION}"), |into| {
        let mut download = Command::new("apt-get");
        // As root it would complain that its own user cannot write here.
        download.args(["-q", "-o", "APT::Sandbox::User=root", "download"]);
        run(download.args(PACKAGES).current_dir(into))?;
        for entry in fs::read_dir(into)? {
            let package = entry?.path();
            run(Command::new("dpkg").arg("-x").arg(&package).arg(into))?;
            fs::remove_file(package)?;
        }
        Ok(())
    })?;
    Ok(Programs(done))
}

impl Programs {
    /// One of them, which finds the others.
    pub fn command(&self, name: &str) -> Command {
        let places = ["usr/sbin", "usr/bin"].map(|place| self.0.join(place));
        let own = std::env::var_os("PATH").unwrap_or_default();
        let all = places.iter().cloned().chain(std::env::split_paths(&own));
        let path = std::env::join_paths(all).unwrap_or(own);
        let found = places.iter().map(|place| place.join(name));
        let program = found.into_iter().find(|program| program.exists());
        let mut command = Command::new(program.unwrap_or_else(|| name.into()));
        command.env("PATH", path);
        command
    }
}

/// A docker daemon. Dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    programs: Programs,
    socket: OsString,
    child: Child,
}

impl Daemon {
    /// Starts one that keeps all it has in `place`, and returns when it answers.
    ///
    /// # Errors
    /// It cannot be had or does not answer; its log is `place/log`.
    pub fn start(place: &Path) -> io::Result<Self> {
        let apart = [
            "--bridge=none",
            "--iptables=false",
            "--ip-masq=false",
            "--ip-forward=false",
        ];
        Self::start_with(place, &apart)
    }

    /// The same with a bridge: only for who has a network namespace of his own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_bridge(place: &Path) -> io::Result<Self> {
        Self::start_with(place, &[])
    }

    fn start_with(place: &Path, network: &[&str]) -> io::Result<Self> {
        let programs = provide()?;
        fs::create_dir_all(place)?;
        let socket = place.join("socket");
        let mut host = OsString::from("unix://");
        host.push(&socket);
        let mut command = programs.command("dockerd");
        command
            .arg("--data-root")
            .arg(place.join("data"))
            .arg("--exec-root")
            .arg(place.join("exec"))
            .arg("--pidfile")
            .arg(place.join("pid"))
            .arg("--config-file")
            .arg(place.join("daemon.json"))
            .arg("-H")
            .arg(&host)
            .args(network)
            .args(["--ip6tables=false", "--storage-driver=overlay2"]);
        fs::write(place.join("daemon.json"), "{}")?;
        let log = fs::File::create(place.join("log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // What is sent to our group is not for it: it shall end in order.
            .process_group(0);
        let daemon = Self {
            programs,
            socket: host,
            child: command.spawn()?,
        };
        let end = Instant::now() + PATIENCE;
        while !daemon.answers()? {
            if Instant::now() > end {
                let log = place.join("log");
                let why = format!("dockerd does not answer, see {}", log.display());
                return Err(io::Error::other(why));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }

    fn answers(&self) -> io::Result<bool> {
        let mut command = self.command();
        command.arg("version").stdout(Stdio::null());
        Ok(command.stderr(Stdio::null()).status()?.success())
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `docker`, which talks to this daemon.
    pub fn command(&self) -> Command {
        let mut command = self.programs.command("docker");
        command.arg("-H").arg(&self.socket);
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It ends its containers and containerd first.
        let told = pid.map(|pid| kill_process(pid, Signal::TERM));
        let end = Instant::now() + PATIENCE;
        while told == Some(Ok(())) && Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
