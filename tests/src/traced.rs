//! A layerfs mount whose daemon runs under the [`Tracer`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

use crate::mounts::{Union, is_mounted};
use crate::process::LIMIT;
use crate::tracer::{Plan, Tracer};

/// The mount. Dropping it kills the daemon and takes the mount away.
#[derive(Debug)]
pub struct Traced {
    point: PathBuf,
    log: PathBuf,
    /// The daemon.
    pub tracer: Tracer,
}

impl Traced {
    /// Mounts `union`; counting begins with the daemon's first call if there is a plan.
    ///
    /// # Errors
    /// The daemon ended before it served: its exit code (128 + signal) and what it said.
    pub fn mount(union: &Union, plan: Option<Plan>) -> Result<Self, (i32, String)> {
        let command = union.clone().flag("-f").layerfs_command();
        Self::mount_by(&union.point, command, plan)
    }

    /// The same by a command of the caller's own, which must stay in the foreground.
    ///
    /// # Errors
    /// As [`Self::mount`].
    pub fn mount_by(
        point: &Path,
        command: Command,
        plan: Option<Plan>,
    ) -> Result<Self, (i32, String)> {
        let log = point.with_extension("log");
        let traced = Self {
            point: point.to_owned(),
            tracer: Tracer::start(command, &log, plan),
            log,
        };
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(code) = traced.tracer.ended() {
                return Err((code, traced.said()));
            }
            // The root answers once both sides have shaken hands.
            if is_mounted(point) && fs::metadata(point).is_ok() {
                return Ok(traced);
            }
            assert!(Instant::now() < end, "no mount: {}", traced.said());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// All that the daemon said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Unmounts it, and waits for the daemon's end; gives its exit code.
    #[track_caller]
    pub fn unmount(self) -> i32 {
        let end = Instant::now() + Duration::from_secs(5);
        // Another test's process, between fork and exec, may hold a descriptor of ours.
        while let Err(error) = unmount(&self.point, UnmountFlags::empty()) {
            let busy = error == rustix::io::Errno::BUSY && Instant::now() < end;
            assert!(busy, "unmount {}: {error}", self.point.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.tracer.wait(LIMIT)
    }

    /// Kills the daemon, and takes the dead mount away.
    #[track_caller]
    pub fn kill(self) {
        self.tracer.kill();
        self.tracer.wait(LIMIT);
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.tracer.kill();
        if is_mounted(&self.point) {
            let _ = unmount(&self.point, UnmountFlags::DETACH);
        }
    }
}
