//! Errors of talking with registries: what failed, on what, why, what to do.

use crate::image::ImageError;
use std::path::PathBuf;

/// Why something could not be pulled, pushed or logged in to.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nobody answers there.
    #[error("registry {registry} cannot be reached: {why}")]
    Unreachable {
        /// Its host.
        registry: String,
        /// Why not, and what to do.
        why: String,
    },
    /// The registry wants other credentials.
    #[error(
        "{what}: access denied by {registry} ({said}): it does not exist, or needs `runner login {registry}`"
    )]
    Denied {
        /// The thing asked for.
        what: String,
        /// Its host.
        registry: String,
        /// In the registry's words.
        said: String,
    },
    /// The registry has no such thing.
    #[error("{what}: not found on {registry} ({said})")]
    NotFound {
        /// The thing asked for.
        what: String,
        /// Its host.
        registry: String,
        /// In the registry's words.
        said: String,
    },
    /// The registry does not do what it is asked.
    #[error("{what}: {registry} answers {status} ({said})")]
    Answer {
        /// The thing asked for.
        what: String,
        /// Its host.
        registry: String,
        /// The status of HTTP.
        status: u16,
        /// In the registry's words.
        said: String,
    },
    /// What came is not what was asked for, or cannot be believed.
    #[error("{what}: {why}; nothing of it is kept")]
    Wrong {
        /// The thing asked for.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The connection broke too often.
    #[error("{what}: the connection to {registry} broke {times} times: {why}; try again later")]
    Broken {
        /// The thing asked for.
        what: String,
        /// Its host.
        registry: String,
        /// How often in a row.
        times: u32,
        /// The last time.
        why: String,
    },
    /// The index has nothing for this kind of machine.
    #[error("{what}: nothing for platform {platform}; there is: {there}")]
    Platform {
        /// The image.
        what: String,
        /// Wanted.
        platform: String,
        /// What there is.
        there: String,
    },
    /// A file of docker's configuration, or of certificates, cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A credential helper fails.
    #[error("credential helper docker-credential-{name}: {why}")]
    Helper {
        /// The name in docker's configuration.
        name: String,
        /// Why.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What somebody else has written, fit for one line of a message: no control characters, not long.
pub(super) fn tame(text: &str) -> String {
    const LONGEST: usize = 300;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim().chars().take(LONGEST).map(printable).collect();
    text
}
