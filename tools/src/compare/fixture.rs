//! The layers that everybody mounts, and the plain copy of them.
//!
//! ```text
//!   base    the Debian root of the tests (used in place), or an empty one
//!   patch   replaced files of Debian, and /srv:
//!             small/    10 000 files of 0.2 to 8 KiB       work/    100 files, for new names
//!             large     1 GiB                              repo/    sources for git
//!             owned/    a tree for chown -R                doomed/  a tree for rm -rf
//!             project/  C sources with a Makefile
//!   plain   cp -a of base, then patch
//! ```
//!
//! Only what the chosen works need is made. All contents come from one seed.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{Context, Error, Result};
use super::scale::Scale;
use super::scratch::{Scratch, remove};
use crate::testroot;

/// A piece of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Debian,
    Small,
    Large,
    Work,
    Owned,
    Repo,
    Doomed,
    Project,
}

/// Layers with what is known of their content.
pub(super) struct Fixture {
    /// Topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// The merged content as plain files, if a contender needs it.
    pub(super) copy: Option<PathBuf>,
    /// Paths of Debian's /usr, shuffled.
    pub(super) known: Known,
}

/// Paths relative to the root, without a leading slash.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) all: Vec<CString>,
    pub(super) files: Vec<CString>,
    pub(super) directories: Vec<CString>,
}

impl Fixture {
    /// Makes the layers below `scratch`, with a plain copy if wanted.
    ///
    /// # Errors
    /// Those of the disk, and of mmdebstrap for a first Debian root.
    pub(super) fn build(
        scratch: &Scratch,
        parts: &BTreeSet<Part>,
        scale: &Scale,
        with_copy: bool,
    ) -> Result<Self> {
        let (patch, empty) = (scratch.join("patch"), scratch.join("base"));
        let srv = patch.join("srv");
        make_directory(&srv)?;
        make_directory(&empty.join("srv"))?;
        let mut random = fastrand::Rng::with_seed(4);
        let text = words(&mut random);
        let mut base = empty;
        for part in parts {
            let tree =
                |name: &str, files, random: &mut _| tree(&srv.join(name), files, &text, random);
            match part {
                Part::Debian => {
                    base = testroot::provide().on("the test root")?.root;
                    replace_some(&base, &patch)?;
                }
                Part::Small => tree("small", scale.small_files, &mut random)?,
                Part::Large => large(&srv.join("large"), scale.large, &mut random)?,
                Part::Work => tree("work", 100, &mut random)?,
                Part::Owned => tree("owned", scale.tree, &mut random)?,
                Part::Repo => tree("repo", scale.tree, &mut random)?,
                Part::Doomed => tree("doomed", 2 * scale.tree, &mut random)?,
                Part::Project => project(&srv.join("project"), scale.sources)?,
            }
        }
        let mut fixture = Self {
            lowers: vec![patch, base],
            copy: None,
            known: Known::default(),
        };
        if parts.contains(&Part::Debian) {
            fixture.known = Known::of(&fixture.lowers, "usr", &mut random)?;
        }
        if with_copy {
            fixture.copy_to(scratch.join("plain"))?;
        }
        Ok(fixture)
    }

    /// A stack of `count` layers that hold `files` files between them in 20 merged directories.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn stack(
        scratch: &Scratch,
        count: usize,
        files: usize,
        with_copy: bool,
    ) -> Result<Self> {
        let top = scratch.join("stack");
        remove(&top)?;
        let lowers: Vec<_> = (0..count).map(|i| top.join(i.to_string())).collect();
        for lower in &lowers {
            for i in 0..20 {
                make_directory(&lower.join(format!("many/{i}")))?;
            }
        }
        for i in 0..files {
            let path = lowers[i % count].join(format!("many/{}/file{i}", i % 20));
            fs::write(&path, b"x").on(path.display())?;
        }
        let mut fixture = Self {
            lowers,
            copy: None,
            known: Known::default(),
        };
        if with_copy {
            fixture.copy_to(top.join("plain"))?;
        }
        Ok(fixture)
    }

    fn copy_to(&mut self, to: PathBuf) -> Result<()> {
        make_directory(&to)?;
        for lower in self.lowers.iter().rev() {
            copy(lower, &to)?;
        }
        self.copy = Some(to);
        Ok(())
    }

    /// Puts the named parts of the plain copy back as the layers have them.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn mend(&self, paths: &[&str]) -> Result<()> {
        let Some(to) = &self.copy else { return Ok(()) };
        for path in paths {
            remove(&to.join(path))?;
            for lower in self.lowers.iter().rev() {
                let from = lower.join(path);
                if from.exists() {
                    copy(&from, &to.join(path))?;
                }
            }
        }
        Ok(())
    }
}

impl Known {
    /// Everything below `path` in any of the layers, which have no whiteouts.
    fn of(lowers: &[PathBuf], path: &str, random: &mut fastrand::Rng) -> Result<Self> {
        let mut found = BTreeSet::new();
        for lower in lowers {
            let mut todo = vec![PathBuf::from(path)];
            while let Some(directory) = todo.pop() {
                let Ok(entries) = fs::read_dir(lower.join(&directory)) else {
                    // Not in this layer.
                    continue;
                };
                for entry in entries {
                    let entry = entry.on(directory.display())?;
                    let kind = entry.file_type().on(directory.display())?;
                    let path = directory.join(entry.file_name());
                    if kind.is_dir() {
                        todo.push(path.clone());
                    }
                    found.insert((path, kind.is_dir(), kind.is_file()));
                }
            }
        }
        let mut known = Self::default();
        for (path, is_directory, is_file) in found {
            let path = CString::new(path.as_os_str().as_bytes()).on(path.display())?;
            if is_directory {
                known.directories.push(path.clone());
            }
            if is_file {
                known.files.push(path.clone());
            }
            known.all.push(path);
        }
        for list in [&mut known.all, &mut known.files, &mut known.directories] {
            random.shuffle(list);
        }
        Ok(known)
    }
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).on(path.display())
}

/// Copies a file, or what is in a directory, with all attributes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        make_directory(parent)?;
    }
    let mut command = Command::new("cp");
    command
        .args(["-aT", "--reflink=never", "--"])
        .arg(from)
        .arg(to);
    let output = command.output().on("cp")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        command: format!("cp -aT {} {}", from.display(), to.display()),
        status: output.status,
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// 64 KiB of words and lines.
fn words(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = Vec::with_capacity(64 << 10);
    while text.len() < 64 << 10 {
        let length = random.usize(2..10);
        text.extend(std::iter::repeat_with(|| random.lowercase() as u8).take(length));
        text.push(if random.u8(..8) == 0 { b'\n' } else { b' ' });
    }
    text
}

/// `files` files of 0.2 to 8 KiB, a hundred to a directory: `TREE/d0/f0` and so on.
fn tree(top: &Path, files: usize, text: &[u8], random: &mut fastrand::Rng) -> Result<()> {
    for i in 0..files {
        let path = top.join(file_of_tree(i));
        if i.is_multiple_of(100)
            && let Some(parent) = path.parent()
        {
            make_directory(parent)?;
        }
        // Mostly small ones, as on real systems.
        let length = 200 + (7800.0 * random.f64().powi(2)) as usize;
        let start = random.usize(..text.len() - length);
        fs::write(&path, &text[start..start + length]).on(path.display())?;
    }
    Ok(())
}

/// The path of a file in a tree of ours.
pub(super) fn file_of_tree(i: usize) -> String {
    format!("d{}/f{i}", i / 100)
}

/// A file without holes and without two equal blocks.
fn large(path: &Path, length: u64, random: &mut fastrand::Rng) -> Result<()> {
    let mut file = fs::File::create(path).on(path.display())?;
    let mut block = vec![0; 1 << 20];
    for _ in 0..length >> 20 {
        random.fill(&mut block);
        file.write_all(&block).on(path.display())?;
    }
    Ok(())
}

/// Replaces every twentieth copyright file of Debian, as an update layer would.
fn replace_some(base: &Path, patch: &Path) -> Result<()> {
    let documents = Path::new("usr/share/doc");
    let entries = fs::read_dir(base.join(documents)).on(base.display())?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().step_by(20) {
        let path = documents.join(name).join(OsStr::new("copyright"));
        // Some packages' documents are a link to another's.
        let Ok(mut text) = fs::read(base.join(&path)) else {
            continue;
        };
        text.extend(b"replaced\n");
        make_directory(&patch.join(documents).join(name))?;
        fs::write(patch.join(&path), text).on(path.display())?;
    }
    Ok(())
}

/// C sources that `make` compiles to one program.
fn project(top: &Path, sources: usize) -> Result<()> {
    make_directory(top)?;
    let write = |name: &str, text: &str| {
        let path = top.join(name);
        let mut file = BufWriter::new(fs::File::create(&path).on(path.display())?);
        file.write_all(text.as_bytes()).on(path.display())
    };
    let headers = [
        "assert", "ctype", "errno", "math", "stdint", "stdio", "stdlib", "string",
    ];
    let headers = headers
        .map(|name| format!("#include <{name}.h>\n"))
        .concat();
    let mut all = String::new();
    for i in 0..sources {
        let body = format!(
            "{headers}#include \"project.h\"\n\
             int unit{i}(int x) {{\n  char text[64];\n  \
             for (int k = 0; k < x % 7; k++) x = x * 31 + {i} + toupper(k);\n  \
             snprintf(text, sizeof text, \"%d\", x);\n  return (int)strlen(text) + x;\n}}\n"
        );
        write(&format!("unit{i}.c"), &body)?;
        all.push_str(&format!("X({i}) "));
    }
    write(
        "project.h",
        &format!(
            "#pragma once\n#define UNITS {all}\n#define X(i) int unit##i(int);\nUNITS\n#undef X\n"
        ),
    )?;
    write(
        "main.c",
        "#include <stdio.h>\n#include \"project.h\"\nint main(void) {\n  int x = 1;\n\
         #define X(i) x = unit##i(x);\n  UNITS\n#undef X\n  printf(\"%d\\n\", x);\n}\n",
    )?;
    write(
        "Makefile",
        "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nCFLAGS := -O1\n\
         program: $(OBJECTS)\n\t$(CC) -o $@ $^\n$(OBJECTS): project.h\n",
    )
}
