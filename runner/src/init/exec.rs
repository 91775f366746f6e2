//! Finding the command in the container's PATH and becoming it.

use super::failure::{Failure, Kind};
use nix::errno::Errno;
use nix::unistd::execve;
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where commands are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the command; comes back only if that failed.
pub(super) fn exec(args: &[String], env: &[(String, String)]) -> Failure {
    match attempt(args, env) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn attempt(args: &[String], env: &[(String, String)]) -> Result<Infallible, Failure> {
    let name = args.first().map(String::as_str).unwrap_or_default();
    let nul = |_| failure(Kind::NotExecutable, name, "contains a zero byte");
    let argv: Vec<CString> = args
        .iter()
        .map(|arg| CString::new(arg.as_str()))
        .collect::<Result<_, _>>()
        .map_err(nul)?;
    let envp: Vec<CString> = env
        .iter()
        .map(|(key, value)| CString::new(format!("{key}={value}")))
        .collect::<Result<_, _>>()
        .map_err(nul)?;
    let mut denied = None;
    for candidate in candidates(name, env) {
        let path = CString::new(candidate.as_os_str().as_bytes()).map_err(nul)?;
        let Err(errno) = execve(&path, &argv, &envp);
        match errno {
            Errno::ENOENT if candidate.symlink_metadata().is_ok() => {
                let why = "its interpreter or loader is missing in the container";
                return Err(failure(Kind::NotFound, name, why));
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => {
                denied.get_or_insert_with(|| why_denied(&candidate));
            }
            other => return Err(refused(name, other)),
        }
    }
    Err(match denied {
        Some(why) => failure(Kind::NotExecutable, name, why),
        None if name.contains('/') => failure(Kind::NotFound, name, "no such file"),
        None => failure(Kind::NotFound, name, "not found in the container's PATH"),
    })
}

fn refused(name: &str, errno: Errno) -> Failure {
    let why = match errno {
        Errno::ENOEXEC => "not a program for this machine, and no #! line".to_owned(),
        Errno::E2BIG => "arguments and environment are too long".to_owned(),
        other => other.desc().to_owned(),
    };
    failure(Kind::NotExecutable, name, &why)
}

fn why_denied(path: &Path) -> &'static str {
    match path.metadata() {
        Ok(meta) if meta.is_dir() => "is a directory, not a program",
        _ => "permission denied (is it executable?)",
    }
}

fn failure(kind: Kind, name: &str, why: &str) -> Failure {
    let on = if name.is_empty() { "\"\"" } else { name };
    Failure {
        kind,
        what: "exec".to_owned(),
        on: on.to_owned(),
        why: why.to_owned(),
    }
}

/// The paths to try, in order.
fn candidates(name: &str, env: &[(String, String)]) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    let path = env.iter().rev().find(|(key, _)| key == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| Path::new(directory).join(OsStr::new(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(path: &str) -> Vec<(String, String)> {
        vec![("PATH".to_owned(), path.to_owned())]
    }

    #[test]
    fn path_is_the_containers() {
        let tried = candidates("ls", &env("/a::/b"));
        assert_eq!(tried, ["/a/ls", "./ls", "/b/ls"].map(PathBuf::from));
        assert_eq!(candidates("./ls", &env("/a")), [PathBuf::from("./ls")]);
        assert!(candidates("", &env("/a")).is_empty());
    }

    #[test]
    fn codes_of_failure() {
        let code = |name: &str| exec(&[name.to_owned()], &env("/nowhere")).exit_code();
        assert_eq!(code("surely-not-there"), 127);
        assert_eq!(code("/surely/not/there"), 127);
        assert_eq!(code(""), 127);
        assert_eq!(code("/etc"), 126);
        assert_eq!(code("/etc/passwd"), 126);
        assert_eq!(code("/etc/passwd/x"), 127);
    }
}
