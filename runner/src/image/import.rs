//! Making an image of an archive or a directory: opening, progress.
//!
//! ```text
//! file --progress--> Store::add_layer
//! directory --copy--> archive::Writer --pipe--> the same
//! ```

use super::copy;
use super::error::io;
use super::layers::Limits;
use super::scratch::open_directory;
use super::{Added, Config, History, ImageError, OciConfig, Record, Reference, Store};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Read, Write, stderr, stdin};
use std::path::{Path, PathBuf};

/// Size of the buffer between the file and what reads it.
const BUFFER: usize = 256 << 10;

/// Where an import reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `-`: a tar archive on standard input.
    Stdin,
    /// A tar archive (plain or gzip), or a directory to copy.
    Path(PathBuf),
}

impl Source {
    /// `-` or a path.
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            Self::Stdin
        } else {
            Self::Path(PathBuf::from(text))
        }
    }
}

impl Store {
    /// Makes an image of one layer from an archive or a directory; moves the name if it exists.
    /// `message` is kept in its history.
    ///
    /// # Errors
    /// A bad name; an input that is damaged or does not fit; a full disk. Nothing is published.
    pub fn import(
        &self,
        source: &Source,
        name: Option<&str>,
        start: Config,
        message: &str,
    ) -> Result<Record, ImageError> {
        self.import_within(source, name, start, message, Limits::default())
    }

    /// [`Store::import`] with limits of one's own.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub(super) fn import_within(
        &self,
        source: &Source,
        name: Option<&str>,
        start: Config,
        message: &str,
        limits: Limits,
    ) -> Result<Record, ImageError> {
        let reference = name.map(str::parse::<Reference>).transpose()?;
        let origin = match source {
            Source::Stdin => "import standard input".to_owned(),
            Source::Path(path) => format!("import {}", path.display()),
        };
        let added = match source {
            Source::Path(path) if path.is_dir() => self.add_directory(path, &origin, limits)?,
            _ => {
                let input = open(source)?;
                self.add_layer(input, &origin, None, limits)?
            }
        };
        let mut config = OciConfig::new();
        config.config = start;
        config.history = vec![History {
            created: config.created.clone(),
            comment: message.to_owned(),
            ..History::default()
        }];
        let id = self.create_image(config, std::slice::from_ref(&added.layer.diff_id))?;
        if let Some(reference) = reference {
            self.tag(&id, &reference)?;
        }
        drop(added);
        self.find(&id)
    }

    /// A layer of a directory's contents.
    fn add_directory(
        &self,
        path: &Path,
        origin: &str,
        limits: Limits,
    ) -> Result<Added, ImageError> {
        let (from, omitted) = (open_directory(path)?, open_directory(self.root())?);
        self.add_written(origin, limits, |to| {
            copy::archive(&from, Some(&omitted), origin, to)
        })
    }

    /// A layer of the archive that `write` writes: in one thread, and it is taken in another.
    ///
    /// # Errors
    /// As [`Store::add_layer`], and what `write` fails with. Nothing is published.
    pub fn add_written(
        &self,
        origin: &str,
        limits: Limits,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError> + Send,
    ) -> Result<Added, ImageError> {
        let (mut reader, writer) = std::io::pipe().map_err(io("make a pipe for", self.root()))?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || write(&mut BufWriter::with_capacity(BUFFER, writer)));
            let added = self.add_layer(&mut reader, origin, None, limits);
            // What still waits to be written must not wait for ever.
            drop(reader);
            match (writing.join(), added) {
                // Its own words tell more than those of who read what is cut short.
                (Ok(Err(error)), Err(ImageError::Archive { .. } | ImageError::Input { .. })) => {
                    Err(error)
                }
                (Ok(_), added) => added,
                (Err(panic), _) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn open(source: &Source) -> Result<Box<dyn Read + Send>, ImageError> {
    let path = match source {
        Source::Stdin => return Ok(Box::new(stdin())),
        Source::Path(path) => path,
    };
    let file = File::open(path).map_err(io("open", path))?;
    let bytes = file.metadata().map_err(io("look at", path))?.len();
    Ok(Box::new(progress(bytes).wrap_read(file)))
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    if !stderr().is_terminal() || bytes == 0 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{bar:32} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    // A template is wrong or right for ever; the plain bar will do.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes)
        .with_style(style)
        .with_finish(indicatif::ProgressFinish::AndClear)
}
