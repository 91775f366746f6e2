//! The environment of a container: defaults, the image's, files, flags; the later wins.

use super::flags::Args;
use crate::error::{Error, Result};
use crate::image::Config;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All of it but HOME, which only the container's own files tell.
pub(super) fn environment(
    args: &Args,
    image: &Config,
    hostname: &str,
) -> Result<Vec<(String, String)>> {
    let mut env = Vec::new();
    set(&mut env, "PATH", PATH);
    set(&mut env, "HOSTNAME", hostname);
    if args.tty {
        set(&mut env, "TERM", "xterm");
    }
    for line in &image.env {
        if let Some((name, value)) = line.split_once('=') {
            set(&mut env, name, value);
        }
    }
    add(&mut env, &args.env_file, &args.env)?;
    Ok(env)
}

/// Adds what the flags `--env-file` and `-e` say.
pub(in crate::cli) fn add(
    env: &mut Vec<(String, String)>,
    files: &[String],
    variables: &[String],
) -> Result<()> {
    for path in files {
        read_file(env, path)?;
    }
    for text in variables {
        take(env, text).map_err(|why| Error::Value {
            flag: "-e",
            value: text.clone(),
            why,
        })?;
    }
    Ok(())
}

fn read_file(env: &mut Vec<(String, String)>, path: &str) -> Result<()> {
    let text =
        std::fs::read_to_string(path).map_err(Error::io("read the environment file", path))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        take(env, line).map_err(|why| Error::Value {
            flag: "--env-file",
            value: path.to_owned(),
            why: format!("line {}: {why}", number + 1),
        })?;
    }
    Ok(())
}

/// `NAME=VALUE`, or `NAME` for the caller's own value, if there is one.
fn take(env: &mut Vec<(String, String)>, text: &str) -> Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("the name before = is empty".to_owned());
    }
    if name.contains(char::is_whitespace) {
        return Err("the name contains white space".to_owned());
    }
    if text.contains('\0') {
        return Err("contains a zero byte".to_owned());
    }
    match value {
        Some(value) => set(env, name, value),
        None => {
            if let Ok(value) = std::env::var(name) {
                set(env, name, &value);
            }
        }
    }
    Ok(())
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_wins_and_nonsense_is_refused() {
        let mut env = Vec::new();
        take(&mut env, "A=1").unwrap();
        take(&mut env, "B=x=y").unwrap();
        take(&mut env, "A=2").unwrap();
        take(&mut env, "SURELY_NOT_SET_ANYWHERE").unwrap();
        let pairs = [("A", "2"), ("B", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(env, pairs);
        assert!(take(&mut env, "=x").is_err());
        assert!(take(&mut env, "A B=x").is_err());
    }
}
