//! A4: locks and notices, across a copy-up.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, inotify};
use tests::layers::Layer;
use tests::process::run;
use tests::stage::{Stage, raw};

fn rw(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Asks another process whether it gets an fcntl lock: fcntl locks do not conflict inside one.
fn other_process_locks(path: &Path) -> bool {
    let script = "import fcntl,sys\nf=open(sys.argv[1],'r+b')\ntry:\n fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\n print('yes')\nexcept OSError:\n print('no')";
    let mut command = std::process::Command::new("python3");
    match run(command.arg("-c").arg(script).arg(path)).ok().trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn a4_flock_survives_a_copy_up() {
    let stage = Stage::new(&[Layer::new().file("f", "content")]);
    stage.both(|root| {
        let path = root.join("f");
        let reader = File::open(&path).unwrap();
        flock(&reader, FlockOperation::LockExclusive).unwrap();
        rw(&path).write_all(b"changed").unwrap();
        let later = File::open(&path).unwrap();
        let held = raw(flock(&later, FlockOperation::NonBlockingLockShared));
        flock(&reader, FlockOperation::Unlock).unwrap();
        (
            held,
            raw(flock(&later, FlockOperation::NonBlockingLockExclusive)),
        )
    });
}

#[test]
fn a4_fcntl_locks_survive_a_copy_up() {
    let stage = Stage::new(&[Layer::new().file("f", "content")]);
    stage.both(|root| {
        let path = root.join("f");
        let reader = File::open(&path).unwrap();
        rustix::fs::fcntl_lock(&reader, FlockOperation::NonBlockingLockShared).unwrap();
        let before = other_process_locks(&path);
        // By chmod and not by open: closing any descriptor of the file would drop the lock.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let after = other_process_locks(&path);
        drop(reader);
        (before, after, other_process_locks(&path))
    });
}

#[test]
fn a4_open_file_description_locks() {
    use nix::fcntl::{FcntlArg, fcntl};
    let stage = Stage::new(&[Layer::new().file("f", "content")]);
    stage.both(|root| {
        let lock = |kind: i32| libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 2,
            l_len: 3,
            l_pid: 0,
        };
        let (a, b) = (rw(&root.join("f")), rw(&root.join("f")));
        let first = fcntl(&a, FcntlArg::F_OFD_SETLK(&lock(libc::F_WRLCK))).is_ok();
        let second = fcntl(&b, FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK)));
        (&a).write_all(b"x").unwrap();
        let third = fcntl(&b, FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK)));
        (
            first,
            second.map_err(|e| e as i32),
            third.map_err(|e| e as i32),
        )
    });
}

#[test]
fn a4_inotify_tells_of_changes_by_others() {
    let stage = Stage::new(&[Layer::new().file("d/f", "content").dir("e")]);
    stage.both(|root| {
        let watcher = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let what = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::ATTRIB;
        inotify::add_watch(&watcher, root.join("d"), what).unwrap();
        let script = "echo x > new; echo y >> f; chmod 600 f; mv new ../e/; rm f";
        run(std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(root.join("d")))
        .ok();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watcher, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|n| n.to_string_lossy().into_owned());
            let event = (name.unwrap_or_default(), event.events().bits());
            // Equal neighbours may be told as one.
            if events.last() != Some(&event) {
                events.push(event);
            }
        }
        events
    });
}
