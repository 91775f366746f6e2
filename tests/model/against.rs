//! One story told to the model, to a plain tree and to a union, and what they make of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tests::layers::flatten;
use tests::lowers::Lowers;
use tests::model::Model;
use tests::mounts::{Mount, Union};
use tests::operations::{Answer, apply};
use tests::scratch::Scratch;
use tests::sequences::present;
use tests::snapshot::{Snapshot, View};
use tests::stage::START;

use crate::story::{Step, Story};

/// With these the kernel's overlayfs keeps POSIX, and no metadata-only copies are lowers.
const OVERLAY: &str = "index=on,redirect_dir=on,xino=on";

/// Who is to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Layerfs,
    /// The kernel's overlayfs, where it promises POSIX: the oracle is held against the model.
    Overlay,
}

/// What differed first, in words.
pub(crate) type Verdict = Result<(), String>;

/// A union whose upper can be rotated. Fields drop in this order.
struct Subject {
    mount: Option<Mount>,
    guards: Vec<Lowers>,
    union: Union,
    against: Against,
    uppers: usize,
    scratch: Scratch,
}

impl Subject {
    fn new(story: &Story, against: Against) -> Self {
        let scratch = Scratch::new();
        let layers = story.layers.iter().enumerate();
        let lowers: Vec<_> = layers
            .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
            .collect();
        let mut union = Union::of(&lowers, scratch.dir("merged"));
        if against == Against::Layerfs {
            // What it wrote itself is a lower after a rotation.
            union = union.option("redirect_dir=on").option("metacopy=on");
        }
        let mut subject = Self {
            mount: None,
            guards: vec![Lowers::guard(&lowers)],
            union,
            against,
            uppers: 0,
            scratch,
        };
        subject.new_upper();
        subject.mount();
        subject
    }

    fn new_upper(&mut self) {
        let n = self.uppers;
        self.uppers += 1;
        let upper = self.scratch.dir(format!("upper{n}"));
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).unwrap();
        self.union.upper = Some((upper, self.scratch.dir(format!("work{n}"))));
    }

    fn mount(&mut self) {
        self.mount = Some(match self.against {
            Against::Layerfs => self.union.layerfs(),
            Against::Overlay => self.union.overlay(OVERLAY),
        });
    }

    fn unmount(&mut self) {
        self.mount.take().unwrap().unmount();
    }

    fn rotate(&mut self) {
        self.unmount();
        let (upper, _) = self.union.upper.take().unwrap();
        self.guards.push(Lowers::guard(&[&upper]));
        self.union.lowers.insert(0, upper);
        self.new_upper();
        self.mount();
    }

    fn numbers(&self) -> Vec<(PathBuf, u64)> {
        let root = &self.union.point;
        let number = |path: &PathBuf| fs::symlink_metadata(root.join(path)).unwrap().ino();
        let paths = present(root).into_iter();
        paths.map(|path| (path.clone(), number(&path))).collect()
    }
}

/// Takes each step everywhere.
///
/// `counted`: link counts are compared. A file with several names of a layer counts those of its layer,
/// hidden ones included, until its first copy-up (fs/DESIGN.md).
pub(crate) fn tell(story: &Story, against: Against, counted: bool) -> Verdict {
    rustix::process::umask(Mode::empty());
    let mut model = Model::new(&story.layers);
    let mut subject = Subject::new(story, against);
    let plain = subject.scratch.join("plain");
    flatten(&story.layers, &plain);
    let mut told = Teller {
        model: &mut model,
        plain: &plain,
        view: View {
            no_links: !counted,
            // It lists whiteouts of directories that it need not merge.
            ghosts: against == Against::Overlay,
            ..View::since(START)
        },
    };
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
    // The merged root has the times of the upper's.
    fs::File::open(&plain)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    told.same_trees("before any step", &subject.union.point)?;
    for (n, step) in story.steps.iter().enumerate() {
        told.take(step, &mut subject)
            .map_err(|why| format!("step {n}, {step:?}: {why}"))?;
    }
    told.same_trees("at the end", &subject.union.point)?;
    told.take(&Step::Remount, &mut subject)?;
    subject.unmount();
    for guard in &subject.guards {
        guard.check();
    }
    Ok(())
}

struct Teller<'a> {
    model: &'a mut Model,
    plain: &'a Path,
    view: View,
}

impl Teller<'_> {
    fn take(&mut self, step: &Step, subject: &mut Subject) -> Verdict {
        let root = subject.union.point.clone();
        match step {
            Step::Do(op) => {
                let model = Answer(self.model.apply(op));
                let plain = apply(self.plain, op);
                let union = apply(&root, op);
                let [model, plain, union] = [model, plain, union].map(|a| self.compared(&a));
                if model == plain && plain == union {
                    return Ok(());
                }
                Err(format!("model {model}, plain {plain}, union {union}"))
            }
            Step::Remount => {
                self.same_trees("before the remount", &root)?;
                let before = subject.numbers();
                subject.unmount();
                subject.mount();
                self.same_trees("after the remount", &root)?;
                let after = subject.numbers();
                match before == after {
                    true => Ok(()),
                    false => Err(format!("I1: {before:?}, after a remount {after:?}")),
                }
            }
            Step::Rotate => {
                self.same_trees("before the rotation", &root)?;
                subject.rotate();
                let now = std::time::SystemTime::now();
                fs::File::open(self.plain)
                    .unwrap()
                    .set_modified(now)
                    .unwrap();
                self.same_trees("after the rotation", &root)
            }
        }
    }

    /// An answer, without what is not to be compared.
    fn compared(&self, answer: &Answer) -> String {
        let text = format!("{answer:?}");
        if !self.view.no_links {
            return text;
        }
        let words = text.split(' ').filter(|word| !word.starts_with("nlink="));
        words.collect::<Vec<_>>().join(" ")
    }

    fn same_trees(&mut self, when: &str, root: &Path) -> Verdict {
        let plain = Snapshot::of(self.plain, &self.view);
        let model = self.model.picture(&self.view).unwrap();
        let union = Snapshot::of(root, &self.view);
        for (who, found) in [("model", model), ("union", union)] {
            let diff = plain.diff(&found);
            if !diff.is_empty() {
                return Err(format!("{when} (- plain, + {who}):\n{diff}"));
            }
        }
        Ok(())
    }
}
