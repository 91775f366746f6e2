//! What the comparison needs of the machine.

use std::process::{Command, Stdio};

use super::contender::{FUSE_OVERLAYFS_2, tools_root};
use super::error::{Context, Error, Result};

/// Programs, each with its Debian package.
const PROGRAMS: [(&str, &str); 8] = [
    ("fuse-overlayfs", "fuse-overlayfs"),
    ("unionfs", "unionfs-fuse"),
    ("fio", "fio"),
    ("mmdebstrap", "mmdebstrap"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("docker-registry", "docker-registry"),
    ("iptables", "iptables"),
];

/// Installs what is missing, by apt-get and cargo.
///
/// # Errors
/// If one of them fails.
pub(super) fn install() -> Result<()> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, _)| !is_there(name))
        .collect();
    if !missing.is_empty() {
        run(Command::new("apt-get").args(["update", "-q"]))?;
        let mut command = Command::new("apt-get");
        command.args(["install", "-q", "-y", "--no-install-recommends"]);
        command.args(missing.iter().map(|(_, package)| package));
        run(&mut command)?;
    }
    if tools_root().join("bin/fuse-overlayfs").exists() {
        return Ok(());
    }
    let mut command = Command::new("cargo");
    command.args([
        "install",
        "--locked",
        "fuse-overlayfs",
        "--version",
        FUSE_OVERLAYFS_2,
    ]);
    run(command.arg("--root").arg(tools_root()))
}

/// # Errors
/// [`Error::Missing`] if the program is not there.
pub(super) fn check(program: &str) -> Result<()> {
    if is_there(program) {
        return Ok(());
    }
    Err(Error::Missing(program.to_owned()))
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn run(command: &mut Command) -> Result<()> {
    eprintln!("compare: {command:?}");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    let status = command
        .status()
        .on(command.get_program().to_string_lossy())?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Program {
        command: format!("{command:?}"),
        status,
        said: "see above".to_owned(),
    })
}
