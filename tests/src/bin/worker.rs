//! `worker TASK DIRECTORY ID STEPS`: one of several processes that work in the same directories of a
//! mount; see `tests/concurrency/processes.rs`. It waits for DIRECTORY's file `go`, then does its task
//! and prints what it won, one thing a line. An answer that no file system may give is a fault: it is
//! told on standard error, and the end is 1.
#![allow(clippy::unwrap_used)] // what fails unforeseen shall end the worker and tell the place

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use tests::sequences::Random;
use tests::sys::Mapping;
use tests::work::{BLOCK, DIRECTORIES, SLOTS, block_is_whole, slot};

struct Worker {
    root: PathBuf,
    id: usize,
    steps: usize,
    random: Random,
}

/// Whether it worked; the errors `lost` only say that another was faster, any other is a fault.
fn won<T>(what: &str, result: io::Result<T>, lost: &[i32]) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| lost.contains(&code)) =>
        {
            Ok(None)
        }
        Err(error) => Err(format!("{what}: {error}")),
    }
}

/// What a rename of moving things may say.
const MOVING: &[i32] = &[
    libc::ENOENT,
    libc::EEXIST,
    libc::ENOTEMPTY,
    libc::EINVAL,
    libc::ENOTDIR,
    libc::EISDIR,
];

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, flags)?)
}

impl Worker {
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    fn any_slot(&mut self) -> PathBuf {
        let number = self.random.below(SLOTS);
        self.path(slot(number))
    }

    /// A name in one of the directories that links are made in.
    fn in_any(&mut self, name: &str) -> PathBuf {
        let directory = *self.random.pick(&DIRECTORIES);
        self.path(directory).join(name)
    }

    /// Each name can be had by one process: tries all of them and prints those it got.
    fn claim(
        &mut self,
        lost: &[i32],
        claim: impl Fn(&Self, &str) -> io::Result<()>,
    ) -> Result<(), String> {
        for step in 0..self.steps {
            let name = step.to_string();
            if won(&name, claim(self, &name), lost)?.is_some() {
                println!("{name}");
            }
        }
        Ok(())
    }

    /// Appends lines; the last part of the path is the name of the file for this worker.
    fn append(&mut self) -> Result<(), String> {
        let name = ["log", "log-too"][self.id % 2];
        let mut file = None;
        for step in 0..self.steps {
            // Opened anew now and then: some handles are older than the copy-up, some younger.
            if step % 7 == 0 || file.is_none() {
                let opened = OpenOptions::new().append(true).open(self.path(name));
                file = Some(opened.map_err(|error| format!("open: {error}"))?);
            }
            let line = format!("{} {step}\n", self.id);
            let written = file.as_mut().unwrap().write(line.as_bytes());
            let written = written.map_err(|error| format!("append: {error}"))?;
            assert_eq!(written, line.len(), "a short append");
        }
        Ok(())
    }

    /// Adds one to a number in a file, under a lock of it.
    fn count(&mut self) -> Result<(), String> {
        for _ in 0..self.steps {
            let add = || -> io::Result<()> {
                let mut file = File::options()
                    .read(true)
                    .write(true)
                    .open(self.path("number"))?;
                flock(&file, FlockOperation::LockExclusive)?;
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                let number: u64 = text.trim().parse().map_err(io::Error::other)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(format!("{:08}\n", number + 1).as_bytes())
            };
            add().map_err(|error| format!("count: {error}"))?;
        }
        Ok(())
    }

    /// Moves tokens (files and directories) between slots: onto free ones, or in exchange.
    fn shuffle(&mut self) -> Result<(), String> {
        for _ in 0..self.steps {
            let from = self.any_slot();
            let to = self.any_slot();
            let flags = *self
                .random
                .pick(&[RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]);
            won(
                "rename",
                rename(&from, &to, flags),
                &[libc::ENOENT, libc::EEXIST],
            )?;
        }
        Ok(())
    }

    /// Reads tokens while they move: each is whole, or not where it was.
    fn look(&mut self) -> Result<(), String> {
        for _ in 0..self.steps {
            let path = self.any_slot();
            let gone = &[libc::ENOENT, libc::ENOTDIR, libc::EISDIR];
            for name in [path.clone(), path.join("id"), path.join("sub/deep")] {
                if let Some(text) = won("read", fs::read_to_string(&name), gone)?
                    && !(text.starts_with("token ") && text.ends_with(" end"))
                {
                    return Err(format!("{} reads {text:?}", name.display()));
                }
            }
            won("list", fs::read_dir(&path).map(Iterator::count), gone)?;
        }
        Ok(())
    }

    /// Gives files more names, and takes names away; never the last one, which is in `kept`.
    fn link(&mut self) -> Result<(), String> {
        for step in 0..self.steps {
            let file = self.random.below(8);
            let kept = self.path(format!("kept/{file}"));
            let name = self.in_any(&format!("{file}-{}-{step}", self.id));
            won("link", fs::hard_link(kept, &name), &[])?;
            match self.random.below(4) {
                0 => drop(won("unlink", fs::remove_file(&name), &[])?),
                1 => {
                    let over = self.in_any(&format!("over-{file}"));
                    won("rename", fs::rename(&name, over), &[])?;
                    // A rename onto another name of the same file does nothing: the name stays.
                    won("unlink", fs::remove_file(&name), &[libc::ENOENT])?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Builds, moves and removes small trees under few names.
    fn grow(&mut self) -> Result<(), String> {
        for _ in 0..self.steps {
            let (path, other) = (self.place(), self.place());
            match self.random.below(6) {
                0 | 1 => drop(won("mkdir", fs::create_dir(&path), MOVING)?),
                2 => drop(won("rmdir", fs::remove_dir(&path), MOVING)?),
                3 => drop(won("rename", fs::rename(&path, &other), MOVING)?),
                4 => drop(won(
                    "exchange",
                    rename(&path, &other, RenameFlags::EXCHANGE),
                    MOVING,
                )?),
                _ => {
                    let gone = &[libc::ENOENT, libc::ENOTDIR];
                    won("stat", fs::metadata(&path), gone)?;
                    won("list", fs::read_dir(&path).map(Iterator::count), gone)?;
                }
            }
        }
        Ok(())
    }

    /// A place one to three names deep below `tree`.
    fn place(&mut self) -> PathBuf {
        let depth = 1 + self.random.below(3);
        let mut path = self.path("tree");
        for _ in 0..depth {
            path.push(*self.random.pick(&["a", "b", "c"]));
        }
        path
    }

    /// Puts a new whole file in the place of another, by rename.
    fn replace(&mut self) -> Result<(), String> {
        for step in 0..self.steps {
            let new = self.path(format!("new-{}", self.id));
            let fill = (self.id * 31 + step) as u8;
            fs::write(&new, vec![fill; BLOCK]).map_err(|error| format!("write: {error}"))?;
            won("rename", fs::rename(&new, self.path("current")), &[])?;
        }
        Ok(())
    }

    /// Reads the file that others replace, by read and by mapping: always one whole version.
    fn read_whole(&mut self) -> Result<(), String> {
        for _ in 0..self.steps {
            let mut file = File::open(self.path("current")).map_err(|error| error.to_string())?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)
                .map_err(|error| error.to_string())?;
            let mapping = Mapping::new(std::os::fd::AsFd::as_fd(&file), BLOCK, false);
            let mut mapping = mapping.map_err(|error| format!("mmap: {error}"))?;
            if !block_is_whole(&text) || mapping.bytes() != text {
                return Err("a torn file".to_owned());
            }
        }
        Ok(())
    }

    /// Writes one byte into each large lower file, which brings it up.
    fn bring_up(&mut self) -> Result<(), String> {
        for step in 0..self.steps {
            let file = File::options()
                .write(true)
                .open(self.path(format!("large/{step}")));
            let file = file.map_err(|error| format!("open: {error}"))?;
            let byte = [b'A' + self.id as u8];
            file.write_all_at(&byte, self.id as u64)
                .map_err(|error| format!("write: {error}"))?;
        }
        Ok(())
    }

    /// Reads the large files meanwhile: what nobody writes is the layer's.
    fn read_large(&mut self) -> Result<(), String> {
        for step in 0..self.steps {
            let mut file = File::open(self.path(format!("large/{step}"))).unwrap();
            let mut text = Vec::new();
            file.read_to_end(&mut text)
                .map_err(|error| format!("read: {error}"))?;
            let length = text.len();
            let mapping = Mapping::new(std::os::fd::AsFd::as_fd(&file), length, false);
            let mut mapping = mapping.map_err(|error| format!("mmap: {error}"))?;
            let wanted = tests::work::pattern(step);
            let tail = tests::work::WRITTEN..;
            if text[tail.clone()] != wanted[tail.clone()]
                || mapping.bytes()[tail.clone()] != wanted[tail]
            {
                return Err(format!("large/{step} lost what its layer has"));
            }
        }
        Ok(())
    }

    fn run(&mut self, task: &str) -> Result<(), String> {
        let id = self.id;
        match task {
            "unlink" => self.claim(&[libc::ENOENT], |w, n| {
                fs::remove_file(w.path("files").join(n))
            }),
            "create" => self.claim(&[libc::EEXIST], |w, n| {
                File::create_new(w.path("files").join(n))?.write_all(id.to_string().as_bytes())
            }),
            "rmdir" => self.claim(&[libc::ENOENT], |w, n| {
                fs::remove_dir(w.path("dirs").join(n))
            }),
            "mkdir" => self.claim(&[libc::EEXIST], |w, n| {
                fs::create_dir(w.path("dirs").join(n))
            }),
            "take" => self.claim(&[libc::ENOENT], |w, n| {
                fs::rename(w.path("moved").join(n), w.path(format!("taken/{n}-{id}")))
            }),
            "link-to" => self.claim(&[libc::EEXIST], |w, n| {
                fs::hard_link(w.path("source"), w.path("links").join(n))
            }),
            "symlink" => self.claim(&[libc::EEXIST], |w, n| {
                symlink(id.to_string(), w.path("symlinks").join(n))
            }),
            "append" => self.append(),
            "count" => self.count(),
            "shuffle" => self.shuffle(),
            "look" => self.look(),
            "link" => self.link(),
            "grow" => self.grow(),
            "replace" => self.replace(),
            "read-whole" => self.read_whole(),
            "bring-up" => self.bring_up(),
            "read-large" => self.read_large(),
            other => Err(format!("no task {other}")),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, task, root, id, steps] = arguments.as_slice() else {
        eprintln!("usage: worker TASK DIRECTORY ID STEPS");
        return ExitCode::from(2);
    };
    let (root, id) = (PathBuf::from(root), id.parse().unwrap());
    let steps = steps.parse().unwrap();
    let seed = id as u64 * 7919 + u64::from(std::process::id());
    let random = Random::new(seed);
    while !root.join("go").exists() {
        std::thread::sleep(Duration::from_micros(200));
    }
    let mut worker = Worker {
        root,
        id,
        steps,
        random,
    };
    match worker.run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("worker {task} {id} (seed {seed}): {fault}");
            ExitCode::FAILURE
        }
    }
}
