//! The Debian root of the tests: bookworm, minimal, with python, a C compiler, git, tar, sqlite.
//!
//! Built once by mmdebstrap from the machine's own package sources, then kept (see [`crate::cache`]):
//!
//! ```text
//!   debian-N/root/      the root directory          N = VERSION below
//!   debian-N/root.tar   the same as an archive (xattrs, ACLs, numeric owners)
//! ```
//!
//! Nobody may write into it; tests mount it as a lower or copy it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cache::{self, run};

/// Grows when what is in the root changes.
const VERSION: u32 = 2;

/// Packages beyond Debian's minimal set.
const PACKAGES: &str = "python3,gcc,libc6-dev,make,git,tar,sqlite3,procps,attr,acl";

/// Packages downloaded into the root's apt cache but not installed: containers of the tests have
/// no network.
pub const DOWNLOADED: [&str; 3] = ["hello", "tree", "docker-registry"];

/// Where the built root lies.
#[derive(Debug, Clone)]
pub struct TestRoot {
    /// The root directory.
    pub root: PathBuf,
    /// The archive of it.
    pub tar: PathBuf,
}

/// Gives the root, building it if this machine has none yet.
///
/// # Errors
/// If mmdebstrap is missing or fails; what it said goes to standard error.
pub fn provide() -> io::Result<TestRoot> {
    let done = cache::provide(&format!("debian-{VERSION}"), build)?;
    Ok(TestRoot {
        root: done.join("root"),
        tar: done.join("root.tar"),
    })
}

fn build(into: &Path) -> io::Result<()> {
    let root = into.join("root");
    let downloads = DOWNLOADED.join(" ");
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--mode=root", "--variant=minbase"])
        .arg(format!("--include={PACKAGES}"))
        .args(["--skip=cleanup/apt/lists", "--skip=cleanup/apt/cache"])
        .arg("--aptopt=Apt::Install-Recommends \"false\"")
        .arg("--customize-hook=chroot \"$1\" apt-get clean")
        .arg(format!(
            "--customize-hook=chroot \"$1\" apt-get install -y --download-only {downloads}"
        ));
    for option in apt_options() {
        command.arg(format!("--aptopt={option}"));
    }
    command.arg("bookworm").arg(&root).args(sources());
    run(&mut command)?;
    let mut tar = Command::new("tar");
    tar.args([
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--sort=name",
    ]);
    run(tar
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(into.join("root.tar"))
        .arg("."))
}

/// The machine's own files of package sources that speak of Debian bookworm, or Debian's mirror.
fn sources() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    files.extend(more.map(|entry| entry.path()));
    files.sort();
    files.retain(|file| fs::read_to_string(file).is_ok_and(|text| speaks_of_bookworm(&text)));
    if files.is_empty() {
        files.push(PathBuf::from("http://deb.debian.org/debian"));
    }
    files
}

/// Whether a sources file (one-line or deb822) names the suite `bookworm` with component `main`.
fn speaks_of_bookworm(text: &str) -> bool {
    let words = |line: &str| line.split_whitespace().any(|word| word == "bookworm");
    text.lines()
        .filter(|line| line.starts_with("Suites:") || line.starts_with("deb "))
        .any(words)
        && text.contains("main")
}

/// Settings without which apt cannot use this machine's mirror: proxies and checks of dates.
fn apt_options() -> Vec<String> {
    let output = Command::new("apt-config")
        .arg("dump")
        .stderr(Stdio::null())
        .output();
    let text = output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    text.lines()
        .filter(|line| {
            let name = line.split(' ').next().unwrap_or_default();
            let wanted = ["Acquire::Check-Valid-Until", "Acquire::Check-Date"];
            wanted.contains(&name) || (name.starts_with("Acquire::http") && name.ends_with("Proxy"))
        })
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::speaks_of_bookworm;

    #[test]
    fn sources_of_other_makers_are_left_alone() {
        assert!(speaks_of_bookworm(
            "deb http://deb.debian.org/debian bookworm main\n"
        ));
        assert!(speaks_of_bookworm(
            "Types: deb\nSuites: bookworm bookworm-updates\nComponents: main\n"
        ));
        assert!(!speaks_of_bookworm(
            "deb https://example.org/apt cloud-sdk-bookworm main\n"
        ));
        assert!(!speaks_of_bookworm(
            "Types: deb\nSuites: nodistro\nComponents: main\n"
        ));
    }
}
