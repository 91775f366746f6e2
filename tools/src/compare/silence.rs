//! Keeps others quiet while we measure: locks that their builds hold shared (`flock -s FILE`).
//!
//! The locks are kept over several works, since getting them means waiting for others, and given
//! back after a while, since others wait for us.

use std::fs::File;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{Context, Result};
use super::guard::Guard;

/// After this the locks are given back at the next occasion.
const HOLD: Duration = Duration::from_secs(90);

/// Files that are locked together.
pub(super) struct Silence {
    files: Vec<File>,
    since: Option<Instant>,
}

impl Silence {
    /// Nothing is locked yet.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn new(paths: &[PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| File::create(path).on(path.display());
        Ok(Self {
            files: paths.iter().map(open).collect::<Result<_>>()?,
            since: None,
        })
    }

    /// Whether [`Self::keep`] may have to wait.
    pub(super) fn is_over(&self) -> bool {
        !self.files.is_empty() && self.since.is_none_or(|since| since.elapsed() > HOLD)
    }

    /// Has all locked on return, in the order given; lets others in before if it was long enough.
    ///
    /// # Errors
    /// Those of flock(2), and if the user interrupts the waiting.
    pub(super) fn keep(&mut self, guard: &Guard) -> Result<()> {
        if !self.is_over() {
            return Ok(());
        }
        if self.since.take().is_some() {
            for file in &self.files {
                file.unlock().on("unlock")?;
            }
            sleep(Duration::from_secs(3));
        }
        for file in &self.files {
            // Not a blocking flock: a signal ends the waiting.
            while let Err(error) = file.try_lock() {
                if let std::fs::TryLockError::Error(error) = error {
                    return Err(error).on("lock");
                }
                guard.check()?;
                sleep(Duration::from_millis(20));
            }
        }
        self.since = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_kept_and_shut_others_out() {
        let path = std::env::temp_dir().join(format!("compare-lock-{}", std::process::id()));
        let guard = Guard::start().unwrap();
        let mut silence = Silence::new(std::slice::from_ref(&path)).unwrap();
        assert!(silence.is_over());
        silence.keep(&guard).unwrap();
        assert!(!silence.is_over());
        let other = File::open(&path).unwrap();
        assert!(other.try_lock_shared().is_err());
        drop(silence);
        other.try_lock_shared().unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
