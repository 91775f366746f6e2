//! `-u`: names and numbers turned into ids by the container's own `/etc/passwd` and `/etc/group`.
//!
//! Both files belong to the image: they are opened below the root only (no fifo, no device, no
//! link outside), read up to a bound, and every line that is not well-formed is skipped.

use super::Program;
use super::failure::Failure;
use crate::mounts::inroot::{InRootError, Root};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes read of either file.
const BOUND: u64 = 16 << 20;

/// Supplementary groups taken at most (the kernel's own bound).
const MOST_GROUPS: usize = 65536;

/// Who the command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups; the primary one is among them, so that giving that one up does not
    /// get around a file's permissions for it (CVE-2022-36109).
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// One useful line of passwd.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// One useful line of group.
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Finds who the command's user (`user[:group]`) is; empty is root.
pub(super) fn identify(root: &Root, program: &Program) -> Result<Identity, Failure> {
    let accounts = read(root, "/etc/passwd", account)?;
    let groups = read(root, "/etc/group", group)?;
    let mut identity = resolve(&program.user, &accounts, &groups)?;
    for wanted in &program.groups {
        let gid = find_group(wanted, &groups)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(identity)
}

fn resolve(wanted: &str, accounts: &[Account], groups: &[Group]) -> Result<Identity, Failure> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = id(user);
    let account = accounts
        .iter()
        .find(|account| account.name == user)
        .or_else(|| accounts.iter().find(|account| Some(account.uid) == number));
    let uid = match (account, number) {
        (Some(account), _) => account.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(unknown("user", user, "/etc/passwd")),
    };
    let gid = match group {
        Some(group) => find_group(group, groups)?,
        None => account.map_or(0, |account| account.gid),
    };
    let mut all = vec![gid];
    // A group of the user's choice comes alone.
    if let (None, Some(account)) = (group, account) {
        let member = |group: &&Group| group.members.contains(&account.name);
        let of_user = groups.iter().filter(member).map(|group| group.gid);
        all.extend(of_user.filter(|&other| other != gid).take(MOST_GROUPS - 1));
    }
    let home = account.map(|account| account.home.as_str());
    let home = home.filter(|home| home.starts_with('/')).unwrap_or("/");
    Ok(Identity {
        uid,
        gid,
        groups: all,
        home: home.to_owned(),
    })
}

fn find_group(wanted: &str, groups: &[Group]) -> Result<u32, Failure> {
    let named = groups.iter().find(|group| group.name == wanted);
    named
        .map(|group| group.gid)
        .or_else(|| id(wanted))
        .ok_or_else(|| unknown("group", wanted, "/etc/group"))
}

fn unknown(what: &str, name: &str, file: &str) -> Failure {
    let why = format!("not in the container's {file}; use a name from it, or a number");
    Failure::setup(&format!("unknown {what}"), name, why)
}

/// A number that can be an id: -1 is the kernel's "leave alone".
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse::<u32>().ok())
        .flatten()
        .filter(|&id| id != u32::MAX)
}

fn account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = id(fields.nth(1)?)?;
    let gid = id(fields.next()?)?;
    let home = fields.nth(1).unwrap_or_default();
    Some(Account {
        name: name.to_owned(),
        uid,
        gid,
        home: home.to_owned(),
    })
}

fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = id(fields.nth(1)?)?;
    let members = fields.next().unwrap_or_default().split(',');
    Some(Group {
        name: name.to_owned(),
        gid,
        members: members
            .filter(|m| !m.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// The useful lines of a file; none if it is not there or not a regular file.
fn read<T>(root: &Root, path: &str, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, Failure> {
    let file = match root.open_file(Path::new(path)) {
        Ok(file) => File::from(file),
        Err(InRootError::Kernel(_) | InRootError::Magic) => return Ok(Vec::new()),
        Err(error) => return Err(Failure::setup("read", path, error)),
    };
    let mut reader = BufReader::new(file.take(BOUND));
    let mut found = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(found),
            Ok(_) => {}
            Err(error) => return Err(Failure::setup("read", path, error)),
        }
        let text = String::from_utf8_lossy(&line);
        found.extend(parse(text.trim_end_matches(['\n', '\r'])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\nrubbish\n:x:1:1::/:/\nbig:x:4294967295:1\n\
            joe:x:1000:1001:Joe,,,:/home/joe:/bin/sh\n77:x:5:6::relative:/bin/sh\nshort:x:9:9";
        let group = "root:x:0:\naudio:x:29:joe,root\nvideo:x:44:joe\njoe:x:1001:\nbad:x:y:joe";
        let accounts: Vec<_> = passwd.lines().filter_map(account).collect();
        let groups: Vec<_> = group.lines().filter_map(super::group).collect();
        resolve(wanted, &accounts, &groups)
            .map(|i| (i.uid, i.gid, i.groups, i.home))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn users_and_groups() {
        assert_eq!(check("").unwrap(), (0, 0, vec![0, 29], "/root".into()));
        assert_eq!(
            check("joe").unwrap(),
            (1000, 1001, vec![1001, 29, 44], "/home/joe".into())
        );
        assert_eq!(
            check("1000").unwrap(),
            (1000, 1001, vec![1001, 29, 44], "/home/joe".into())
        );
        assert_eq!(
            check("joe:video").unwrap(),
            (1000, 44, vec![44], "/home/joe".into())
        );
        assert_eq!(check("4242").unwrap(), (4242, 0, vec![0], "/".into()));
        assert_eq!(check("4242:7").unwrap(), (4242, 7, vec![7], "/".into()));
        assert_eq!(check(":29").unwrap(), (0, 29, vec![29], "/root".into()));
        assert_eq!(check("77").unwrap(), (5, 6, vec![6], "/".into()));
        assert_eq!(check("short").unwrap().3, "/");
        for bad in [
            "nobody-here",
            "joe:nope",
            "joe:",
            "-1",
            "4294967295",
            "big",
            "1000 ",
        ] {
            assert!(check(bad).unwrap_err().starts_with("unknown"), "{bad}");
        }
    }
}
