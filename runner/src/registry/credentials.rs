//! Who we are at a registry: docker's configuration file and its credential helpers.
//!
//! ```text
//!  $DOCKER_CONFIG/config.json, else ~/.docker/config.json
//!    credHelpers.HOST   docker-credential-NAME   for this registry
//!    credsStore         docker-credential-NAME   for all others
//!    auths.HOST         {"auth": base64 USER:PASSWORD} | {"identitytoken"} | {"registrytoken"}
//! ```

use super::{RegistryError, files};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Docker's own registry is called by its oldest name there.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// The user's name that says that the secret is a token.
const TOKEN_USER: &str = "<token>";

/// What a user proves himself with.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A name and a password.
    Password {
        /// The user.
        user: String,
        /// His password.
        password: String,
    },
    /// A token that buys others (docker's `identitytoken`).
    Identity(String),
    /// A token for the registry itself.
    Registry(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secret itself.
        f.write_str("Secret")
    }
}

/// Docker's configuration file.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
    value: Map<String, Value>,
}

impl DockerConfig {
    /// Reads the user's; one that is not there is empty.
    ///
    /// # Errors
    /// The file cannot be read, or is no JSON object.
    pub fn open() -> Result<Self, RegistryError> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
        let set = std::env::var_os("DOCKER_CONFIG").filter(|set| !set.is_empty());
        let directory = set.map(PathBuf::from).or_else(home);
        Self::read(
            &directory
                .unwrap_or_else(|| PathBuf::from("/root/.docker"))
                .join("config.json"),
        )
    }

    fn read(path: &Path) -> Result<Self, RegistryError> {
        let value = match files::read(path, LONGEST)? {
            Some(bytes) if !bytes.trim_ascii().is_empty() => serde_json::from_slice(&bytes)
                .map_err(|e| files::wrong(path, format!("not what docker writes there: {e}")))?,
            _ => Map::new(),
        };
        Ok(Self {
            path: path.to_owned(),
            value,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret for a registry (`HOST[:PORT]`), if there is one.
    ///
    /// # Errors
    /// A helper that fails; an entry that is not what docker writes.
    pub fn find(&self, host: &str) -> Result<Option<Secret>, RegistryError> {
        match self.helper(host) {
            Some(helper) => ask_helper(&helper, &key(host)),
            None => match self.entry(host) {
                Some((_, entry)) => decode(entry).map_err(|why| {
                    files::wrong(&self.path, format!("credentials of {host}: {why}"))
                }),
                None => Ok(None),
            },
        }
    }

    /// The user's name at a registry, if one is kept: to be offered at the next login.
    pub fn user(&self, host: &str) -> Option<String> {
        match self.find(host) {
            Ok(Some(Secret::Password { user, .. })) => Some(user),
            _ => None,
        }
    }

    /// Keeps a secret. Gives whether it lies in the file itself, for everybody who can read that.
    ///
    /// # Errors
    /// The helper fails, or the file cannot be written.
    pub fn keep(&mut self, host: &str, user: &str, password: &str) -> Result<bool, RegistryError> {
        let key = key(host);
        let helper = self.helper(host);
        let entry = match &helper {
            Some(helper) => {
                let whole = json!({"ServerURL": key, "Username": user, "Secret": password});
                run_helper(helper, "store", whole.to_string().as_bytes())?;
                json!({})
            }
            None => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
        };
        self.forget_entries(host);
        let auths = self.value.entry("auths").or_insert_with(|| json!({}));
        let Value::Object(auths) = auths else {
            return Err(files::wrong(
                &self.path,
                "\"auths\" is no object".to_owned(),
            ));
        };
        auths.insert(key, entry);
        self.save()?;
        Ok(helper.is_none())
    }

    /// Forgets the secret of a registry; gives whether there was one.
    ///
    /// # Errors
    /// The helper fails, or the file cannot be written.
    pub fn forget(&mut self, host: &str) -> Result<bool, RegistryError> {
        let mut known = self.entry(host).is_some();
        if let Some(helper) = self.helper(host) {
            let key = key(host);
            known |= ask_helper(&helper, &key)?.is_some();
            if known {
                run_helper(&helper, "erase", key.as_bytes())?;
            }
        }
        if self.forget_entries(host) {
            self.save()?;
        }
        Ok(known)
    }

    fn helper(&self, host: &str) -> Option<String> {
        let own = self
            .value
            .get("credHelpers")
            .and_then(|helpers| helpers.get(host));
        let helper = own.or_else(|| self.value.get("credsStore"))?.as_str()?;
        (!helper.is_empty()).then(|| helper.to_owned())
    }

    fn entry(&self, host: &str) -> Option<(&String, &Value)> {
        let auths = self.value.get("auths")?.as_object()?;
        let exact = auths.get_key_value(&key(host));
        exact.or_else(|| auths.iter().find(|(key, _)| host_of(key) == host))
    }

    fn forget_entries(&mut self, host: &str) -> bool {
        let Some(Value::Object(auths)) = self.value.get_mut("auths") else {
            return false;
        };
        let before = auths.len();
        let wanted = key(host);
        auths.retain(|key, _| *key != wanted && host_of(key) != host);
        auths.len() != before
    }

    fn save(&self) -> Result<(), RegistryError> {
        // A link to the file stays one.
        let path = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        let cannot =
            |e: &dyn std::fmt::Display| files::wrong(&path, format!("cannot write it: {e}"));
        if let Some(directory) = path.parent() {
            use std::os::unix::fs::DirBuilderExt;
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(directory);
            made.map_err(|e| cannot(&e))?;
        }
        let text = serde_json::to_vec_pretty(&self.value).map_err(|e| cannot(&e))?;
        files::write(&path, &text)
    }
}

/// A registry's name in the file.
fn key(host: &str) -> String {
    if host == "docker.io" {
        DOCKER_KEY
    } else {
        host
    }
    .to_owned()
}

/// The host of a name in the file, which may have a scheme and a path.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    if matches!(host, "index.docker.io" | "registry-1.docker.io") {
        "docker.io"
    } else {
        host
    }
}

/// One entry of `auths`.
fn decode(entry: &Value) -> Result<Option<Secret>, String> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Secret::Identity(token)));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Secret::Registry(token)));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Ok(Some(Secret::Password { user, password }));
    }
    let Some(auth) = text("auth") else {
        return Ok(None);
    };
    let bytes = STANDARD
        .decode(auth.trim())
        .map_err(|e| format!("\"auth\" is no base64: {e}"))?;
    let plain = String::from_utf8(bytes).map_err(|_| "\"auth\" is no text".to_owned())?;
    let (user, password) = plain
        .split_once(':')
        .ok_or("\"auth\" wants USER:PASSWORD")?;
    Ok(Some(Secret::Password {
        user: user.to_owned(),
        // Docker pads it at times.
        password: password.trim_end_matches('\0').to_owned(),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

fn ask_helper(name: &str, key: &str) -> Result<Option<Secret>, RegistryError> {
    let out = match run_helper(name, "get", key.as_bytes()) {
        Ok(out) => out,
        // The words are fixed by the protocol.
        Err(RegistryError::Helper { why, .. }) if why.contains("credentials not found") => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let answer: Answer = serde_json::from_slice(&out).map_err(|e| RegistryError::Helper {
        name: name.to_owned(),
        why: format!("its answer cannot be read: {e}"),
    })?;
    Ok(Some(if answer.username == TOKEN_USER {
        Secret::Identity(answer.secret)
    } else {
        Secret::Password {
            user: answer.username,
            password: answer.secret,
        }
    }))
}

/// Runs a helper with something on its standard input; gives what it prints.
fn run_helper(name: &str, verb: &str, input: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let fail = |why: String| RegistryError::Helper {
        name: name.to_owned(),
        why,
    };
    if name.contains('/') {
        return Err(fail("a name, not a path, is wanted".to_owned()));
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    command
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| fail(format!("cannot be run: {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input tells why by its exit status.
        let _ = stdin.write_all(input);
    }
    let out = child
        .wait_with_output()
        .map_err(|e| fail(format!("cannot be waited for: {e}")))?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    let said = super::error::tame(&String::from_utf8_lossy(&out.stdout));
    Err(fail(if said.is_empty() {
        format!("ends with {}", out.status)
    } else {
        said
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig {
            path: PathBuf::from("config.json"),
            value: serde_json::from_str(text).unwrap(),
        }
    }

    fn password(user: &str, password: &str) -> Option<Secret> {
        let (user, password) = (user.to_owned(), password.to_owned());
        Some(Secret::Password { user, password })
    }

    #[test]
    fn entries_in_every_spelling() {
        // dTpwOnc= is "u:p:w".
        let config = config(
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOnc="},
                "https://old.example/v2/": {"username": "a", "password": "b"},
                "t.example:5000": {"identitytoken": "x"}, "r.example": {"registrytoken": "y"},
                "empty.example": {}, "bad.example": {"auth": "%"}}}"#,
        );
        assert_eq!(config.find("docker.io").unwrap(), password("u", "p:w"));
        assert_eq!(config.find("old.example").unwrap(), password("a", "b"));
        let identity = Some(Secret::Identity("x".to_owned()));
        assert_eq!(config.find("t.example:5000").unwrap(), identity);
        let registry = Some(Secret::Registry("y".to_owned()));
        assert_eq!(config.find("r.example").unwrap(), registry);
        assert_eq!(config.find("empty.example").unwrap(), None);
        assert_eq!(config.find("t.example").unwrap(), None);
        assert!(config.find("bad.example").is_err());
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten_and_the_rest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        let mut config = DockerConfig::read(&path).unwrap();
        config
            .value
            .insert("detachKeys".to_owned(), json!("ctrl-a"));
        assert!(config.keep("h.example:5000", "me", "se:cret").unwrap());
        assert!(config.keep("docker.io", "you", "x").unwrap());
        let mut again = DockerConfig::read(&path).unwrap();
        assert_eq!(
            again.find("h.example:5000").unwrap(),
            password("me", "se:cret")
        );
        assert_eq!(again.user("docker.io").as_deref(), Some("you"));
        assert!(again.forget("docker.io").unwrap());
        assert!(!again.forget("docker.io").unwrap());
        let last = DockerConfig::read(&path).unwrap();
        assert_eq!(last.find("docker.io").unwrap(), None);
        assert_eq!(last.value["detachKeys"], "ctrl-a");
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", password("me", "hunter2"));
        assert!(!shown.contains("hunter2"));
    }
}
