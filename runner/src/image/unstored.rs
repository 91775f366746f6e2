//! Images that no store keeps: `host`, the machine's own tree, and `dir:PATH`, the tree in a directory.

use super::{Config, ImageError, OciConfig};
use std::path::{Path, PathBuf};

/// The root directory and the settings of such a name; `None` for any other.
///
/// # Errors
/// `dir:` names no directory.
pub(super) fn find(name: &str) -> Result<Option<(PathBuf, OciConfig)>, ImageError> {
    if name == "host" {
        return Ok(Some((PathBuf::from("/"), host_config())));
    }
    let Some(path) = name.strip_prefix("dir:") else {
        return Ok(None);
    };
    Ok(Some((directory(Path::new(path))?, OciConfig::default())))
}

/// The directory of `dir:PATH`, absolute.
fn directory(path: &Path) -> Result<PathBuf, ImageError> {
    let bad = |why: &str| ImageError::Directory {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    match path.canonicalize() {
        _ if path.as_os_str().is_empty() => Err(bad("no path; want dir:PATH")),
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(bad(
            "not a directory; want the root directory of a file system tree",
        )),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(bad("no such directory")),
        Err(e) => Err(bad(&e.to_string())),
    }
}

/// What the machine's own programs need from the environment: where they are, their language.
fn host_config() -> OciConfig {
    let variable = |name: &&str| Some(format!("{name}={}", std::env::var(name).ok()?));
    let env = ["PATH", "LANG", "LC_ALL", "TZ"]
        .iter()
        .filter_map(variable)
        .collect();
    let config = Config {
        env,
        ..Config::default()
    };
    OciConfig {
        config,
        ..OciConfig::default()
    }
}
