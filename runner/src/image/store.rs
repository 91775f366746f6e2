//! The image store on disk.

use super::{Config, ImageError, Record};
use std::path::{Path, PathBuf};

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

/// One read-only layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A directory to give to layerfs as a lower.
    Directory(PathBuf),
}

/// A resolved image. While it (or its `guard`) lives, its layers are not removed.
#[derive(Debug)]
pub struct Image {
    /// `host`, `dir:PATH`, or name with tag.
    pub name: String,
    /// The id of a stored image; `None` for `host` and `dir:`.
    pub id: Option<String>,
    /// Layers, topmost first.
    pub layers: Vec<Layer>,
    /// How it starts.
    pub config: Config,
    guard: Vec<std::os::fd::OwnedFd>,
}

impl Image {
    /// The lower directories, topmost first.
    pub fn lowers(&self) -> Vec<PathBuf> {
        self.layers
            .iter()
            .map(|Layer::Directory(path)| path.clone())
            .collect()
    }

    /// Takes the descriptors whose shared locks keep the layers from being removed: hand them
    /// to the process that outlives this one.
    pub fn into_guard(self) -> Vec<std::os::fd::OwnedFd> {
        self.guard
    }
}

/// The images below one root directory.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store, making its directories (0700) when missing and sweeping what a killed
    /// command left behind.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The root directory of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Finds the image of a name: `host`, `dir:PATH`, or one that was imported (by name, id or
    /// unique beginning of the id).
    pub fn resolve(&self, name: &str) -> Result<Image, ImageError> {
        Err(ImageError::Unknown {
            name: name.to_owned(),
        })
    }

    /// Makes an image of one layer from an archive or a directory; moves the name if it exists.
    pub fn import(&self, _source: &Source, name: &str) -> Result<Record, ImageError> {
        Err(ImageError::Unknown {
            name: name.to_owned(),
        })
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<Record>, ImageError> {
        Ok(Vec::new())
    }

    /// Removes a name, and the layers that no other image needs.
    pub fn remove(&self, name: &str) -> Result<Record, ImageError> {
        Err(ImageError::Unknown {
            name: name.to_owned(),
        })
    }
}
