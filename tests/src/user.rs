//! Code run as another user: a thread with its own ids and umask, so that the test stays root.

use std::thread;

use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

/// Two unprivileged users that own nothing else on the machine.
pub const ALICE: u32 = 40_001;
/// See [`ALICE`].
pub const BOB: u32 = 40_002;

/// Runs `work` in a thread with the ids given, no capability and umask 022.
pub fn run_as<T: Send>(uid: u32, gid: u32, groups: &[u32], work: impl FnOnce() -> T + Send) -> T {
    run_thread(Some((uid, gid, groups)), 0o022, work)
}

/// Runs `work` as root in a thread with this umask.
pub fn with_umask<T: Send>(umask: u32, work: impl FnOnce() -> T + Send) -> T {
    run_thread(None, umask, work)
}

fn run_thread<T: Send>(
    ids: Option<(u32, u32, &[u32])>,
    umask: u32,
    work: impl FnOnce() -> T + Send,
) -> T {
    let result = thread::scope(|scope| {
        scope
            .spawn(|| {
                // CLONE_FS: the umask becomes this thread's own.
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
                rustix::process::umask(Mode::from_raw_mode(umask));
                if let Some((uid, gid, groups)) = ids {
                    become_user(uid, gid, groups);
                }
                work()
            })
            .join()
    });
    match result {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The raw system calls change the calling thread only; leaving uid 0 empties the capabilities.
fn become_user(uid: u32, gid: u32, groups: &[u32]) {
    let groups: Vec<_> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    rustix::thread::set_thread_groups(&groups).unwrap();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
}
