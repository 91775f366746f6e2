//! How containers of one network find each other: by lines in each other's `/etc/hosts`.
//!
//! ```text
//!   127.0.0.1   localhost …            the container's own part: its to change
//!   # containers on the same networks, kept up to date by runner
//!   10.89.0.2   db database
//!   10.89.0.3   web
//! ```
//!
//! Why no name server: a file is there whoever dies, works for every program that resolves names
//! as the system does, asks nobody, and adds no code of ours that a container could speak to. The
//! price is a rewrite of each member's file when one comes or goes, in place, because the file is
//! what the container's mount shows.

use super::state::{Endpoint, Network, State};
use rustix::fs::{Mode, OFlags};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MARK: &str = "# containers on the same networks, kept up to date by runner\n";

/// Longest file that is rewritten: a container may have made its own part long.
const BOUND: u64 = 1 << 20;

/// Tells all members of a network who is on it now. A file that cannot be written is passed
/// over: what is wrong with one container is no reason to keep another from starting.
pub(super) fn tell_members(state: &State, network: &Network) {
    if !network.has_names() {
        return;
    }
    for member in &network.endpoints {
        let lines = lines_for(state, &member.container);
        let _ = replace_part(&member.hosts, &lines, &[]);
    }
}

/// Tells a container that it has left a network: neither others nor these addresses of its own are
/// to be found there any more.
pub(super) fn tell_left(state: &State, left: &Endpoint) {
    let v6 = left.address6.map(IpAddr::V6);
    let gone: Vec<_> = [IpAddr::V4(left.address)].into_iter().chain(v6).collect();
    let lines = lines_for(state, &left.container);
    let _ = replace_part(&left.hosts, &lines, &gone);
}

/// Everybody on the container's networks, itself too.
fn lines_for(state: &State, container: &str) -> String {
    let mut lines = String::new();
    let networks = state
        .of(container)
        .filter(|(network, _)| network.has_names());
    for other in networks.flat_map(|(network, _)| &network.endpoints) {
        let names = other.names.join(" ");
        // A String takes everything.
        let _ = writeln!(lines, "{}\t{names}", other.address);
        if let Some(address) = other.address6 {
            let _ = writeln!(lines, "{address}\t{names}");
        }
    }
    lines
}

/// Replaces what follows the mark, and takes lines of the addresses in `gone` out of what is before it. One write, then the cut: a reader never sees less than the
/// container's own part.
fn replace_part(path: &Path, lines: &str, gone: &[IpAddr]) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut text = String::new();
    (&file).take(BOUND + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BOUND {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let own = text.find(MARK).unwrap_or(text.len());
    let is_gone = |line: &&str| {
        let address = line.split_whitespace().next().unwrap_or_default();
        gone.iter().any(|gone| address == gone.to_string())
    };
    let own = text.get(..own).unwrap_or_default().split_inclusive('\n');
    let mut new: String = own.filter(|line| !is_gone(line)).collect();
    if !lines.is_empty() {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(MARK);
        new.push_str(lines);
    }
    if new != text {
        file.write_all_at(new.as_bytes(), 0)?;
        file.set_len(new.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_behind_the_mark_is_replaced() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = || std::fs::read_to_string(file.path()).unwrap();
        std::fs::write(file.path(), "127.0.0.1 localhost").unwrap();
        replace_part(file.path(), "10.0.0.2\tweb\n", &[]).unwrap();
        assert_eq!(
            text(),
            format!("127.0.0.1 localhost\n{MARK}10.0.0.2\tweb\n")
        );
        replace_part(file.path(), "10.0.0.3\tb\n", &[]).unwrap();
        assert_eq!(text(), format!("127.0.0.1 localhost\n{MARK}10.0.0.3\tb\n"));
        replace_part(file.path(), "", &[]).unwrap();
        assert_eq!(text(), "127.0.0.1 localhost\n");
        std::fs::write(file.path(), "10.0.0.20\ta\n10.0.0.2\tb\n").unwrap();
        replace_part(file.path(), "", &["10.0.0.2".parse().unwrap()]).unwrap();
        assert_eq!(text(), "10.0.0.20\ta\n");
        std::fs::write(file.path(), vec![b'x'; 2 << 20]).unwrap();
        assert!(replace_part(file.path(), "10.0.0.2\tweb\n", &[]).is_err());
        assert!(replace_part(Path::new("/no/such/file"), "", &[]).is_err());
    }
}
