//! `runner events`: what happens to containers.
//!
//! ```text
//!   events.log.1   events.log     --since: from the first line on
//!                      │          else from its end on
//!                      └─ inotify: more; renamed: the rest of it, then the new one
//! ```

use super::format::Format;
use super::{logs, output};
use crate::container::journal::{Event, Journal};
use crate::error::{Error, Result};
use crate::types::Moment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without --until it goes on until it is stopped.

Examples:
  runner events --filter container=web --filter event=die
  runner events --since 1h --until 0s --format json")]
pub(super) struct Args {
    /// Only those with: container=, image=, event=, label=KEY[=VALUE], type=
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Begin with those of then: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End then: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let filter = Filter::parse(&args.filter)?;
    let since = logs::moment("--since", args.since.as_deref())?;
    let until = logs::moment("--until", args.until.as_deref())?;
    let home = output::open_home(root)?;
    let journal = home.journal();
    // Watched before the first look, so that nothing falls between.
    let changes = watch(root)?;
    let mut reader = Follower::open(&journal, since.is_some())?;
    loop {
        while let Some(event) = reader.next()? {
            let old = since.is_some_and(|since| event.time_nano < since);
            if until.is_some_and(|until| event.time_nano >= until) {
                return Ok(0);
            }
            if !old && filter.takes(&event) {
                output::print(&shown(&event, &format)?)?;
            }
        }
        if until.is_some_and(|until| Moment::now() >= until) {
            return Ok(0);
        }
        wait(&changes, until)?;
    }
}

fn shown(event: &Event, format: &Format) -> Result<String> {
    match format {
        Format::Usual => Ok(line(event)),
        other => {
            let value = serde_json::to_value(event)
                .map_err(|error| Error::system::<io::Error>("describe an event")(error.into()))?;
            other.object(&value)
        }
    }
}

/// As docker prints it.
fn line(event: &Event) -> String {
    let attributes: Vec<_> = event
        .actor
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let (time, kind) = (event.time_nano.long(), &event.kind);
    let (action, id) = (&event.action, &event.actor.id);
    format!("{time} {kind} {action} {id} ({})\n", attributes.join(", "))
}

fn watch(root: &Path) -> Result<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let wanted = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MOVED_FROM;
    let watched = inotify::init(flags).and_then(|changes| {
        inotify::add_watch(&changes, root, wanted)?;
        Ok(changes)
    });
    watched.map_err(|errno| Error::io("watch", root)(errno.into()))
}

/// Waits for a change, or for the time when all ends.
fn wait(changes: &OwnedFd, until: Option<Moment>) -> Result<()> {
    let left = until.map(|until| {
        let left = until.since(Moment::now());
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        }
    });
    match poll(&mut [PollFd::new(changes, PollFlags::IN)], left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(Error::system("wait for events")(errno)),
    }
    // What changed does not matter: everything is looked at again.
    let mut told = [0; 4096];
    while rustix::io::read(changes, &mut told).is_ok_and(|length| length > 0) {}
    Ok(())
}

/// Reads the journal line by line, from one file to the next.
struct Follower {
    journal: Journal,
    current: Option<BufReader<File>>,
    /// A line whose end is not written yet.
    begun: Vec<u8>,
}

impl Follower {
    /// From the beginning, or from the end on.
    fn open(journal: &Journal, from_beginning: bool) -> Result<Self> {
        let mut follower = Self {
            journal: journal.clone(),
            current: None,
            begun: Vec::new(),
        };
        let [older, newest] = journal.files();
        if from_beginning {
            follower.current = open(&older)?;
        }
        if follower.current.is_none() {
            follower.current = open(&newest)?;
        }
        if let Some(current) = follower.current.as_mut().filter(|_| !from_beginning) {
            current
                .seek(SeekFrom::End(0))
                .map_err(Error::io("read", newest))?;
        }
        Ok(follower)
    }

    /// The next event; nothing if there is none yet.
    fn next(&mut self) -> Result<Option<Event>> {
        loop {
            let path = self.journal.path().to_owned();
            let Some(current) = &mut self.current else {
                self.current = open(&path)?;
                if self.current.is_none() {
                    return Ok(None);
                }
                continue;
            };
            // Before reading: what is not renamed yet may still grow.
            let renamed = is_another(current.get_ref(), &path);
            let read = current.read_until(b'\n', &mut self.begun);
            read.map_err(Error::io("read", &path))?;
            if self.begun.ends_with(b"\n") {
                let line = std::mem::take(&mut self.begun);
                match serde_json::from_slice(&line) {
                    Ok(event) => return Ok(Some(event)),
                    // Cut short by a full disk, or of another version.
                    Err(_) => continue,
                }
            }
            if !renamed {
                return Ok(None);
            }
            self.begun.clear();
            self.current = open(&path)?;
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }
}

fn open(path: &Path) -> Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Whether another file than the open one has the name now.
fn is_another(open: &File, path: &Path) -> bool {
    let named = std::fs::metadata(path).map(|meta| meta.ino());
    match (open.metadata().map(|meta| meta.ino()), named) {
        (Ok(open), Ok(named)) => open != named,
        // Between its renaming and the next one's making.
        _ => false,
    }
}

/// Conditions: one of those of a kind must hold, for each kind.
#[derive(Debug, Default)]
struct Filter(Vec<(String, Vec<String>)>);

impl Filter {
    fn parse(texts: &[String]) -> Result<Self> {
        const KINDS: [&str; 5] = ["container", "image", "event", "label", "type"];
        let mut filter = Self::default();
        for text in texts {
            let split = text
                .split_once('=')
                .filter(|(kind, _)| KINDS.contains(kind));
            let (kind, value) = split.ok_or_else(|| Error::Value {
                flag: "--filter",
                value: text.clone(),
                why: format!("want NAME=VALUE; there are {}", KINDS.join(", ")),
            })?;
            match filter.0.iter_mut().find(|(known, _)| known == kind) {
                Some((_, values)) => values.push(value.to_owned()),
                None => filter.0.push((kind.to_owned(), vec![value.to_owned()])),
            }
        }
        Ok(filter)
    }

    fn takes(&self, event: &Event) -> bool {
        let attribute = |key: &str| event.actor.attributes.get(key).map(String::as_str);
        self.0.iter().all(|(kind, values)| {
            values.iter().any(|value| match kind.as_str() {
                "container" => {
                    attribute("name") == Some(value)
                        || event.actor.id.starts_with(value.as_str()) && value.len() > 3
                }
                "image" => attribute("image") == Some(value),
                // `exec_start: sh -c x` is an `exec_start`.
                "event" => event.action.split(':').next() == Some(value),
                "label" => match value.split_once('=') {
                    Some((key, value)) => attribute(key) == Some(value),
                    None => attribute(value).is_some(),
                },
                _ => event.kind == *value,
            })
        })
    }
}
