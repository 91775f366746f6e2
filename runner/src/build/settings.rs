//! What instructions say of an image's settings.

use super::parse::{Check, Command, Kind};
use super::words;
use crate::image::{Config, Healthcheck, Nothing};

/// The shell of commands that are one text.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Docker's own name of a check that is switched off.
const NO_CHECK: &str = "NONE";

/// Applies an instruction to settings; false if it is none of settings (FROM, RUN, COPY, ADD, ARG,
/// MAINTAINER). `value` knows variables, after the settings' own environment. `own_command` tells whether
/// CMD was said before by the same author: ENTRYPOINT takes one away that was meant for another.
///
/// # Errors
/// Why not, in words.
pub fn apply(
    kind: &Kind,
    config: &mut Config,
    own_command: &mut bool,
    escape: char,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<bool, String> {
    let env = config.env.clone();
    let known = |name: &str| variable(&env, name).or_else(|| value(name));
    let full = |word: &str| words::expand(word, escape, &known);
    match kind {
        Kind::Env(pairs) => {
            for (name, value) in pairs {
                let (name, value) = (full(name)?, full(value)?);
                config
                    .env
                    .retain(|line| line.split_once('=').map(|l| l.0) != Some(name.as_str()));
                config.env.push(format!("{name}={value}"));
            }
        }
        Kind::Label(pairs) => {
            for (name, value) in pairs {
                config.labels.insert(full(name)?, full(value)?);
            }
        }
        Kind::Workdir(path) => config.working_dir = below(&config.working_dir, &full(path)?)?,
        Kind::User(user) => config.user = named("USER", full(user)?)?,
        Kind::Cmd(command) => {
            config.cmd = argv(command, config);
            *own_command = true;
        }
        Kind::Entrypoint(command) => {
            config.entrypoint = argv(command, config);
            if !*own_command {
                config.cmd.clear();
            }
        }
        Kind::Volume(paths) => {
            for path in paths {
                config
                    .volumes
                    .insert(named("VOLUME", full(path)?)?, Nothing {});
            }
        }
        Kind::Expose(ports) => {
            for text in ports {
                for port in full(text)?.split_whitespace() {
                    for port in ports_of(port)? {
                        config.exposed_ports.insert(port, Nothing {});
                    }
                }
            }
        }
        Kind::Shell(words) => config.shell.clone_from(words),
        Kind::StopSignal(signal) => config.stop_signal = named("STOPSIGNAL", full(signal)?)?,
        Kind::Health(check) => config.healthcheck = Some(health(check)),
        Kind::OnBuild(line) => config.on_build.push(line.clone()),
        Kind::From(_)
        | Kind::Run(_)
        | Kind::Copy(_)
        | Kind::Add(_)
        | Kind::Arg(_)
        | Kind::Maintainer(_) => return Ok(false),
    }
    Ok(true)
}

fn variable(env: &[String], name: &str) -> Option<String> {
    let pairs = env.iter().filter_map(|line| line.split_once('='));
    pairs
        .filter(|(n, _)| *n == name)
        .map(|(_, v)| v.to_owned())
        .next_back()
}

fn named(what: &str, text: String) -> Result<String, String> {
    match text.is_empty() {
        true => Err(format!("{what} is empty, once its variables are put in")),
        false => Ok(text),
    }
}

/// A directory as seen from another, without `.` and `..`.
pub fn below(from: &str, to: &str) -> Result<String, String> {
    let to = named("WORKDIR", to.to_owned())?;
    let whole = if to.starts_with('/') {
        to
    } else {
        format!("{from}/{to}")
    };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The words of a command, with the image's shell if it is a text.
pub fn argv(command: &Command, config: &Config) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => {
            let mut words = config.shell.clone();
            if words.is_empty() {
                words = SHELL.map(str::to_owned).to_vec();
            }
            words.push(text.clone());
            words
        }
    }
}

/// `80`, `80/udp`, `80-82`.
fn ports_of(text: &str) -> Result<Vec<String>, String> {
    let bad = || format!("port {text:?}: want PORT[-PORT][/tcp|/udp|/sctp]");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad());
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(bad)
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(bad());
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn health(check: &Check) -> Healthcheck {
    let test = match &check.command {
        None => vec![NO_CHECK.to_owned()],
        Some(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
        Some(Command::Exec(words)) => {
            let mut test = vec!["CMD".to_owned()];
            test.extend(words.iter().cloned());
            test
        }
    };
    Healthcheck {
        test,
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        retries: check.retries,
        ..Healthcheck::default()
    }
}
