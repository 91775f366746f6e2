//! The runner's own program as a file that nothing reached through a container can write to.
//!
//! A process in a container may see one of ours (its own pid 1 before exec, the small init) and
//! open it through `/proc/PID/exe`; with the real file behind that link it could overwrite the
//! runner on the host (CVE-2019-5736). So everything that ever stands in a container's pid
//! namespace executes from a detached, read-only mount of the program: a write there fails with
//! `EROFS`, and the mount belongs to no namespace, so nobody can remount it. Once all of ours are
//! started the mount also forbids execution, so that a container cannot even run it. Where the
//! kernel refuses the mount, a sealed copy in memory serves.

use super::mount;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mount::MountAttrFlags;
use std::fs::File;
use std::io;
use std::path::Path;

const SELF: &str = "/proc/self/exe";

/// A descriptor of the running program to execute (through `/proc/self/fd/N`).
pub fn protected() -> io::Result<OwnedFd> {
    read_only_mount(Path::new(SELF)).or_else(|_| sealed_copy())
}

/// Says whether `program`, made by [`protected`], can be executed from now on. A sealed copy in
/// memory is no mount and refuses: it can be run by a container, but not changed.
pub fn allow_execution(program: &OwnedFd, allowed: bool) -> io::Result<()> {
    let no_exec = MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if allowed {
        Ok(mount::clear_attributes(program, no_exec)?)
    } else {
        Ok(mount::set_attributes(program, no_exec, None, false)?)
    }
}

fn read_only_mount(file: &Path) -> io::Result<OwnedFd> {
    let mount = mount::copy_path(file, false)?;
    mount::set_attributes(
        &mount,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        Some(mount::Propagation::Private),
        false,
    )?;
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let copy = memfd_create("runner", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(SELF)?, &mut copy)?;
    let copy = OwnedFd::from(copy);
    fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn nothing_is_written_through_the_mount() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Ok(mount) = read_only_mount(file.path()) else {
            // Needs root.
            assert!(!rustix::process::geteuid().is_root());
            return;
        };
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let error = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        // A descriptor opened for reading leads to no more.
        let reading = File::open(path).unwrap();
        let path = format!("/proc/self/fd/{}", reading.as_raw_fd());
        let error = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }

    #[test]
    fn a_sealed_copy_cannot_be_written() {
        let copy = sealed_copy().unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let error = std::fs::write(path, b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
