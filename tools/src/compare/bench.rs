//! What a work has at hand: a mount that can be made fresh or cold, a clock, programs.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::contender::Contender;
use super::error::{Context, Error, Result};
use super::fixture::Fixture;
use super::guard::Guard;
use super::mount::Mounted;
use super::program::{self, clean};
use super::samples::Row;
use super::scale::Scale;
use super::scratch::Scratch;
use super::trace::Trace;

const GIB: f64 = (1_u64 << 30) as f64;

/// One contender at one work in one round.
pub(super) struct Bench<'a> {
    pub(super) contender: &'a Contender,
    pub(super) fixture: &'a Fixture,
    pub(super) common: Common<'a>,
    pub(super) rows: &'a mut [Row],
    mounted: Option<Mounted>,
}

/// What is the same for all turns.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) scale: &'a Scale,
    pub(super) scratch: &'a Scratch,
    pub(super) guard: &'a Guard,
    /// Count system calls instead of time.
    pub(super) trace: bool,
}

/// The root of a mount.
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

impl<'a> Bench<'a> {
    /// Nothing is mounted yet.
    pub(super) fn new(
        contender: &'a Contender,
        fixture: &'a Fixture,
        common: Common<'a>,
        rows: &'a mut [Row],
    ) -> Self {
        Self {
            contender,
            fixture,
            common,
            rows,
            mounted: None,
        }
    }

    /// Mounts anew over an empty upper, with nothing left to be written to the disk.
    pub(super) fn fresh(&mut self) -> Result<&mut Mounted> {
        self.mount(false)
    }

    /// The same, with nothing in the kernel's caches.
    pub(super) fn cold(&mut self) -> Result<&mut Mounted> {
        self.mount(true)
    }

    fn mount(&mut self, cold: bool) -> Result<&mut Mounted> {
        self.common.guard.check()?;
        self.mounted = None;
        self.settle()?;
        if cold {
            drop_caches()?;
        }
        let mounted = match &self.fixture.copy {
            Some(copy) if self.contender.is_copy() => Mounted::copy(copy),
            _ => {
                let place = self.common.scratch.join(&self.contender.key);
                Mounted::new(
                    self.contender,
                    &self.fixture.lowers,
                    &place,
                    self.common.guard,
                )?
            }
        };
        Ok(self.mounted.insert(mounted))
    }

    /// Writes all changes to the disk, so that nobody pays for those of others.
    pub(super) fn settle(&self) -> Result<()> {
        let disk = File::open(self.common.scratch.path()).on("scratch")?;
        rustix::fs::syncfs(disk).on("syncfs")
    }

    /// Reads a part of the layers beside the mount: their page cache is then warm, and nothing is
    /// known of them inside the mount.
    pub(super) fn warm_layers(&self, path: &str) -> Result<()> {
        let lowers = &self.fixture.lowers;
        let copy = self
            .fixture
            .copy
            .iter()
            .filter(|_| self.contender.is_copy());
        let sources = lowers.iter().filter(|_| !self.contender.is_copy());
        for source in copy.chain(sources) {
            read_tree(&source.join(path))?;
        }
        Ok(())
    }

    /// The root of what is mounted.
    pub(super) fn root(&self) -> Result<Root> {
        let path = self.mounted()?.point().to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).on(path.display())?;
        Ok(Root { path, fd })
    }

    fn mounted(&self) -> Result<&Mounted> {
        let missing = || Error::Wrong("nothing is mounted".to_owned());
        self.mounted.as_ref().ok_or_else(missing)
    }

    /// Does a piece of the work, which says how many operations it did, and notes what one took.
    /// A failure is noted too and does not end the work, unless the user or the time limit does.
    pub(super) fn time(
        &mut self,
        row: &str,
        work: impl FnOnce(&Root) -> Result<usize>,
    ) -> Result<()> {
        self.clock(row, |root| Ok(work(root)?.max(1) as f64))
    }

    /// The same for `bytes` of data: notes what a GiB took.
    pub(super) fn time_bytes(
        &mut self,
        row: &str,
        bytes: u64,
        work: impl FnOnce(&Root) -> Result<()>,
    ) -> Result<()> {
        self.clock(row, |root| work(root).map(|()| bytes as f64 / GIB))
    }

    fn clock(&mut self, row: &str, work: impl FnOnce(&Root) -> Result<f64>) -> Result<()> {
        let root = self.root()?;
        let trace = self.trace()?;
        let started = Instant::now();
        let done = work(&root);
        let took = started.elapsed();
        match (done, trace) {
            (Err(error), _) => self.fail(row, error)?,
            (Ok(amount), None) => self.note(row, took.as_secs_f64() / amount),
            (Ok(amount), Some(trace)) => self.tell(row, &trace.end(amount)?),
        }
        Ok(())
    }

    /// Begins to count the daemon's system calls, if that is what the user wants.
    fn trace(&self) -> Result<Option<Trace>> {
        match self.mounted()?.daemon() {
            Some(daemon) if self.common.trace => {
                Trace::begin(daemon, &self.common.scratch.join("trace")).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn tell(&self, row: &str, calls: &str) {
        println!("{:20} {row}: {calls}", self.contender.title);
    }

    /// Notes a time that was measured elsewhere.
    pub(super) fn note(&mut self, row: &str, seconds: f64) {
        let key = &self.contender.key;
        if let Some(row) = self.rows.iter_mut().find(|r| r.name == row) {
            row.samples.entry(key.clone()).or_default().push(seconds);
        }
    }

    fn fail(&mut self, row: &str, error: Error) -> Result<()> {
        self.common.guard.check()?;
        let key = &self.contender.key;
        if let Some(row) = self.rows.iter_mut().find(|r| r.name == row) {
            row.failed.entry(key.clone()).or_insert(error.to_string());
        }
        Ok(())
    }

    /// A command inside the mount, which is its root directory.
    pub(super) fn inside(&mut self, program: &[&str]) -> Result<Command> {
        let missing = || Error::Wrong("nothing is mounted".to_owned());
        let mounted = self.mounted.as_mut().ok_or_else(missing)?;
        mounted.furnish()?;
        let mut command = Command::new("chroot");
        command.arg(mounted.point()).args(program);
        clean(&mut command);
        Ok(command)
    }

    /// A command of the machine that works in the root directory of the mount.
    pub(super) fn outside(&self, program: &[&str]) -> Result<Command> {
        let [name, arguments @ ..] = program else {
            return Err(Error::Wrong("no program".to_owned()));
        };
        let mut command = Command::new(name);
        command.args(arguments).current_dir(self.mounted()?.point());
        clean(&mut command);
        Ok(command)
    }

    /// Runs a command to its end; gives how long that took and what it printed.
    pub(super) fn run(&self, command: Command) -> Result<(Duration, Vec<u8>)> {
        program::run(
            self.common.guard,
            &self.common.scratch.join("said"),
            command,
        )
    }

    /// Runs a command and notes the time it took.
    pub(super) fn time_program(&mut self, row: &str, command: Command) -> Result<()> {
        let trace = self.trace()?;
        match (self.run(command), trace) {
            (Err(error), _) => self.fail(row, error)?,
            (Ok((took, _)), None) => self.note(row, took.as_secs_f64()),
            (Ok(_), Some(trace)) => self.tell(row, &trace.end(1.0)?),
        }
        Ok(())
    }
}

/// Empties the kernel's caches of pages, names and attributes.
fn drop_caches() -> Result<()> {
    let path = "/proc/sys/vm/drop_caches";
    fs::write(path, "3\n").on(path)
}

/// Reads every file of a tree; nothing there is no error.
fn read_tree(path: &Path) -> Result<()> {
    let Ok(is) = path.symlink_metadata() else {
        return Ok(());
    };
    if is.is_dir() {
        for entry in fs::read_dir(path).on(path.display())? {
            read_tree(&entry.on(path.display())?.path())?;
        }
    } else if is.is_file() {
        let mut file = File::open(path).on(path.display())?;
        io::copy(&mut file, &mut io::sink()).on(path.display())?;
    }
    Ok(())
}
