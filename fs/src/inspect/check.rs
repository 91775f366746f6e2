//! What is broken in an upper, and mending it (contract F4).
//!
//! ```text
//!   locks ──> work    stage, index, markers, the list of layers
//!        └──> marks   every object of the upper, one by one
//!        └──> twice   what only shows when all are known: one layer's object at two places
//!                        └─ findings ──repair──> mend, in this order, each a step that may be cut short
//! ```
//!
//! A *problem* breaks a rule; a *note* is harmless, and may be left by a kill at any moment of ordinary
//! work. Without `repair` nothing is written. What depends on the layers is mended only if they are the
//! layers of the last mount, as far as the workdir tells.

mod marks;
mod mend;
mod twice;
mod work;

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Dir, Places, Tree, UpperDir};
use crate::error::InspectError;
use crate::ops::FileSystem;
use crate::types::{Config, Metacopy, UpperConfig};
use crate::upper::open::{HOME, Share, lock, open_role};

/// One thing that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// A word for programs.
    pub code: &'static str,
    /// Whether a rule is broken; else it is a note.
    pub problem: bool,
    /// The object: below the upper with a leading `/`, or a path in the workdir.
    pub place: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What a repair does, or what to do where it cannot.
    pub advice: &'static str,
    /// How far it was mended.
    pub state: State,
    mend: Option<Mend>,
}

/// How far a finding is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A repair would mend it.
    Mendable,
    /// It was mended.
    Mended,
    /// Only people can.
    Left,
    /// Mending it failed.
    Failed(String),
}

/// How a finding is mended; see [`mend`].
#[derive(Debug)]
enum Mend {
    /// Set these marks, then remove those.
    Marks {
        spot: Spot,
        set: Vec<(CString, Vec<u8>)>,
        remove: Vec<CString>,
    },
    /// A new whiteout in the place of this one.
    Whiteout { dir: Arc<UpperDir>, file: OsString },
    /// Remove an entry of the index.
    IndexEntry(OsString),
    /// Remove what is in the stage.
    Stage,
}

/// The object whose marks are mended.
#[derive(Debug, Clone)]
enum Spot {
    /// A directory of the upper.
    Directory(Arc<UpperDir>),
    /// A name in one.
    Name(Arc<UpperDir>, OsString),
    /// An entry of the index.
    Index(OsString),
}

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// All findings.
    pub findings: Vec<Finding>,
    /// How many objects of the upper were looked at.
    pub objects: usize,
}

/// The check at work.
struct Check<'a> {
    tree: &'a Tree,
    work: Option<&'a Path>,
    findings: Vec<Finding>,
    objects: usize,
    /// The root and all directories with redirects.
    entrances: Vec<Dir>,
    /// The session whose unsynced copies a power cut may have spoilt.
    lost: Option<Option<u64>>,
}

impl Report {
    /// How many problems are left.
    pub fn problems_left(&self) -> usize {
        let left = |finding: &&Finding| finding.problem && finding.state != State::Mended;
        self.findings.iter().filter(left).count()
    }
}

/// Checks the upper at `places`; with `repair` mends what can be mended.
///
/// # Errors
/// [`InspectError`]: the upper is in use, or something cannot be read; with `repair` also if there is no
/// workdir or the layers are not those of the last mount.
pub fn check(places: &Places, repair: bool) -> Result<Report, InspectError> {
    let recovered = match repair {
        true => recover(places)?,
        false => None,
    };
    let share = if repair { Share::No } else { Share::Readers };
    let _locks = locks(places, share)?;
    let tree = Tree::open(places)?;
    let mut check = Check {
        tree: &tree,
        work: places.work.as_deref(),
        findings: recovered.into_iter().collect(),
        objects: 0,
        entrances: Vec::new(),
        lost: None,
    };
    let known_layers = check.workdir()?;
    if repair && !known_layers {
        return Err(InspectError::OtherLayers {
            work: places.work.clone().unwrap_or_default(),
        });
    }
    check.marks()?;
    check.index()?;
    check.twice()?;
    let mut findings = check.findings;
    let objects = check.objects;
    if repair {
        mend::all(&tree, places, &mut findings);
    }
    Ok(Report { findings, objects })
}

/// Has what a power cut spoilt put back as a mount would do it. `None`: there was nothing.
fn recover(places: &Places) -> Result<Option<Finding>, InspectError> {
    let (Some(upper), Some(work)) = (&places.upper, &places.work) else {
        return Err(InspectError::NoWork);
    };
    let _locks = locks(places, Share::No)?;
    if !work::may_be_spoilt(work)? || places.lowers.is_empty() {
        return Ok(None);
    }
    drop(_locks);
    let config = Config {
        lowers: places.lowers.clone(),
        upper: Some(UpperConfig {
            upper: upper.clone(),
            work: work.clone(),
        }),
        read_only: false,
        volatile: false,
        trust_redirect: true,
        metacopy: Metacopy::Follow,
        noatime: false,
    };
    let file_system = FileSystem::open(&config)?;
    file_system
        .close()
        .map_err(InspectError::at(upper.clone()))?;
    Ok(Some(Finding {
        code: "unsynced",
        problem: true,
        place: work.join(HOME),
        what: "a power cut may have spoilt copied-up files".to_owned(),
        advice: "their data was put back from the layers",
        state: State::Mended,
        mend: None,
    }))
}

/// The locks of a mount: nobody changes the upper while they are held.
fn locks(places: &Places, share: Share) -> Result<Vec<OwnedFd>, InspectError> {
    let mut locks = Vec::new();
    if let Some(upper) = &places.upper {
        locks.push(lock("upper", upper, &open_role("upper", upper)?, share)?);
    }
    if let Some(work) = &places.work {
        let dir = open_role("work", work)?;
        if work.join(HOME).is_dir() {
            let home = open_role("work", &work.join(HOME))?;
            locks.push(lock("work", work, &home, share)?);
        }
        drop(dir);
    }
    Ok(locks)
}

impl Finding {
    fn note(code: &'static str, place: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self {
            code,
            problem: false,
            place: place.into(),
            what: what.into(),
            advice: "harmless",
            state: State::Left,
            mend: None,
        }
    }

    fn problem(code: &'static str, place: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self {
            problem: true,
            advice: "",
            ..Self::note(code, place, what)
        }
    }

    fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    fn mend(self, advice: &'static str, mend: Mend) -> Self {
        Self {
            advice,
            state: State::Mendable,
            mend: Some(mend),
            ..self
        }
    }
}

/// The path of an object of the upper as it is told.
fn shown(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
