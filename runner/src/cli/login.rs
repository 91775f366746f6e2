//! `runner login`: credentials for a registry, kept where docker keeps them.

use super::output;
use super::pull::Registry;
use crate::error::{Error, Result};
use crate::registry::{Client, DockerConfig, Secret};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read, Write, stderr, stdin};

/// The registry of names without a host.
const DOCKER: &str = "docker.io";

/// Longest password that is read from standard input, in bytes.
const LONGEST: u64 = 64 << 10;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Credentials are kept in ~/.docker/config.json ($DOCKER_CONFIG), or by the helper that is named there.

Examples:
  runner login registry.example:5000
  pass show registry | runner login -u me --password-stdin registry.example"
)]
pub(super) struct Args {
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password; others on this machine may see it
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    registry: Registry,
    /// The registry: HOST[:PORT]
    #[arg(value_name = "REGISTRY", default_value = DOCKER)]
    server: String,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    let server = server(&args.server)?;
    let mut config = DockerConfig::open()?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask_user(&config, &server)?,
    };
    let password = match &args.password {
        Some(password) => {
            output::warn(
                &"WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
            );
            password.clone()
        }
        None if args.password_stdin => piped_password()?,
        None => ask_password()?,
    };
    for (flag, value) in [("--username", &user), ("--password", &password)] {
        if value.is_empty() || (flag == "--username" && value.contains(':')) {
            return Err(Error::Value {
                flag,
                value: String::new(),
                why: "must not be empty, and a user's name holds no ':'".to_owned(),
            });
        }
    }
    let secret = Secret::Password {
        user: user.clone(),
        password: password.clone(),
    };
    Client::open(args.registry.host(&server), Some(secret))?.check_login()?;
    if config.keep(&server, &user, &password)? {
        output::warn(&format_args!(
            "WARNING! Your password is stored unencrypted in {}; a credential helper (credsStore) does better.",
            config.path().display()
        ));
    }
    output::print(&"Login Succeeded\n")
}

/// A registry's name without scheme and path.
pub(super) fn server(text: &str) -> Result<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER,
        host => host,
    };
    // The grammar of names knows what a host is.
    let named = format!("{host}/x").parse::<crate::image::Reference>();
    match named {
        Ok(name) if name.place().0 == host || host == DOCKER => Ok(host.to_owned()),
        _ => Err(Error::Value {
            flag: "REGISTRY",
            value: text.to_owned(),
            why: "want HOST[:PORT], as registry.example:5000".to_owned(),
        }),
    }
}

fn ask_user(config: &DockerConfig, server: &str) -> Result<String> {
    if !stdin().is_terminal() {
        return Err(Error::Usage(
            "login: standard input is no terminal: give -u NAME and --password-stdin".to_owned(),
        ));
    }
    let known = config.user(server);
    let prompt = match &known {
        Some(user) => format!("Username ({user}): "),
        None => "Username: ".to_owned(),
    };
    let user = ask(&prompt)?;
    Ok(if user.is_empty() {
        known.unwrap_or_default()
    } else {
        user
    })
}

fn ask(prompt: &str) -> Result<String> {
    // Nobody to ask if this fails; then the answer is empty.
    let _ = write!(stderr(), "{prompt}");
    let mut answer = String::new();
    stdin()
        .read_line(&mut answer)
        .map_err(Error::system("read the answer"))?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_password() -> Result<String> {
    if !stdin().is_terminal() {
        return Err(Error::Usage(
            "login: standard input is no terminal: say --password-stdin to read the password there"
                .to_owned(),
        ));
    }
    let old = tcgetattr(stdin()).map_err(Error::system("look at the terminal"))?;
    let mut silent = old.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let set = |modes| {
        tcsetattr(stdin(), OptionalActions::Flush, modes).map_err(Error::system("set the terminal"))
    };
    set(&silent)?;
    let answer = ask("Password: ");
    set(&old)?;
    let _ = writeln!(stderr());
    answer
}

fn piped_password() -> Result<String> {
    let mut text = String::new();
    let read = stdin().take(LONGEST).read_to_string(&mut text);
    read.map_err(Error::system("read the password from standard input"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, host) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://r.example/v2/", "r.example"),
        ] {
            assert_eq!(server(text).unwrap(), host);
        }
        for bad in ["", "a b", "r.example:x", "nohost", "https://"] {
            assert!(server(bad).is_err(), "{bad:?}");
        }
    }
}
