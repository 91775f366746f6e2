//! `runner logs`: what a container has said.

use super::output;
use crate::container::client::Control;
use crate::container::directory::Directory;
use crate::container::spec::LogChoice;
use crate::error::{Error, Result};
use crate::logs::{FILE, LogError, Query, Reader, Record, Stream};
use crate::types::Moment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What was said to standard output and standard error goes to the same here.

Examples:
  runner logs -f --tail 20 web
  runner logs --since 10m -t web
  runner logs --since 2026-01-31T12:00:00 --until 5m web"
)]
pub(super) struct Args {
    /// Go on as the container says more, until it ends
    #[arg(short, long)]
    follow: bool,
    /// This many lines from the end; all of them if not given
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER|all",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// None older: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// None younger: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Name, id, or unique beginning of an id
    container: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let query = Query {
        since: moment("--since", args.since.as_deref())?,
        until: moment("--until", args.until.as_deref())?,
        // As docker: what is no number, or below 0, means all.
        tail: args.tail.parse().ok(),
    };
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    if directory.spec()?.log == LogChoice::None {
        let name = &args.container;
        return Err(Error::Refused(format!(
            "container {name} keeps no log: it was made with --log-driver none"
        )));
    }
    let end = query.until;
    let mut printer = Printer::new(args.timestamps);
    // Watched before the first look, so that nothing falls between.
    let follower = args
        .follow
        .then(|| Follower::start(&directory))
        .transpose()?;
    let mut reader = Reader::open(directory.path(), query)?;
    loop {
        if !printer.print_all(&mut reader)? {
            return Ok(0);
        }
        let Some(follower) = follower.as_ref().filter(|f| f.monitor.is_some()) else {
            return Ok(0);
        };
        if follower.wait(end)? {
            // The monitor has closed the log before it went: the rest is there.
            printer.print_all(&mut reader)?;
            return Ok(0);
        }
    }
}

/// The value of a flag that is a time.
pub(super) fn moment(flag: &'static str, text: Option<&str>) -> Result<Option<Moment>> {
    let Some(text) = text else { return Ok(None) };
    let moment = Moment::parse(text).ok_or_else(|| Error::Value {
        flag,
        value: text.to_owned(),
        why: "want a time as 2026-01-31T12:00:00Z, seconds since 1970, or a length as 10m"
            .to_owned(),
    })?;
    Ok(Some(moment))
}

/// Sees when a log grows, and when it is complete.
struct Follower<'a> {
    directory: &'a Directory,
    changes: OwnedFd,
    /// Nobody writes without one.
    monitor: Option<Control>,
}

impl<'a> Follower<'a> {
    fn start(directory: &'a Directory) -> Result<Self> {
        let failed = || Error::io("watch the log in", directory.path());
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags)
            .map_err(io::Error::from)
            .map_err(failed())?;
        let flags = inotify::WatchFlags::CREATE;
        let watched = inotify::add_watch(&changes, directory.path(), flags);
        watched.map_err(io::Error::from).map_err(failed())?;
        let monitor = Control::connect(directory).ok();
        if let Some(monitor) = &monitor {
            monitor.watch()?;
        }
        let follower = Self {
            directory,
            changes,
            monitor,
        };
        follower.watch_newest();
        Ok(follower)
    }

    /// By itself, because other files of the directory change, too. There may be none yet.
    fn watch_newest(&self) {
        let newest = self.directory.join(FILE);
        let _ = inotify::add_watch(&self.changes, newest, inotify::WatchFlags::MODIFY);
    }

    /// Waits until there may be more; true when there will be no more.
    fn wait(&self, end: Option<Moment>) -> Result<bool> {
        let Some(monitor) = &self.monitor else {
            return Ok(true);
        };
        let left = end.map(|end| end.since(Moment::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut watched = [
            PollFd::new(&self.changes, PollFlags::IN),
            PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN),
        ];
        match poll(&mut watched, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(false),
            other => other.map_err(Error::system("wait for the log"))?,
        };
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(true);
        }
        let [_, said] = watched.map(|fd| !fd.revents().is_empty());
        // What has changed does not matter, only that something has.
        while rustix::io::read(&self.changes, &mut [0; 4096]).is_ok_and(|length| length > 0) {}
        self.watch_newest();
        if said {
            return monitor.has_ended(Duration::ZERO);
        }
        Ok(false)
    }
}

/// Prints records to the stream that they were said to.
struct Printer {
    timestamps: bool,
    /// What is to be printed next, and where.
    waiting: (Stream, Vec<u8>),
    /// The streams whose last record had no line's end.
    open: Vec<Stream>,
}

impl Printer {
    fn new(timestamps: bool) -> Self {
        Self {
            timestamps,
            waiting: (Stream::Stdout, Vec::new()),
            open: Vec::new(),
        }
    }

    /// Prints all that is there; false when nobody reads it any more.
    fn print_all(&mut self, reader: &mut Reader) -> Result<bool> {
        loop {
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return self.flush(),
                Err(error @ LogError::Record { .. }) => {
                    output::complain(&error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // One stream at a time, so that their order is kept on a terminal.
            let full = self.waiting.0 != record.stream || self.waiting.1.len() > 64 << 10;
            if full && !self.flush()? {
                return Ok(false);
            }
            self.add(&record);
        }
    }

    fn add(&mut self, record: &Record) {
        let (stream, bytes) = &mut self.waiting;
        *stream = record.stream;
        if self.timestamps && !self.open.contains(stream) {
            bytes.extend(format!("{} ", record.time.long()).bytes());
        }
        bytes.extend(&record.bytes);
        self.open.retain(|open| *open != record.stream);
        if !record.bytes.ends_with(b"\n") {
            self.open.push(record.stream);
        }
    }

    fn flush(&mut self) -> Result<bool> {
        let (stream, bytes) = &mut self.waiting;
        let bytes = std::mem::take(bytes);
        match stream {
            Stream::Stdout => write(io::stdout().lock(), &bytes),
            Stream::Stderr => write(io::stderr().lock(), &bytes),
        }
    }
}

fn write(mut to: impl Write, bytes: &[u8]) -> Result<bool> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => other
            .map(|()| true)
            .map_err(Error::system("write the log to standard output")),
    }
}
