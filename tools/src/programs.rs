//! Where the programs under test, and under measurement, are.
//!
//! `tests/run` builds them once and tells by `LAYERFS_BIN` and `RUNNER_BIN`. Without those (a
//! plain `cargo test`) cargo builds them here, once, and tells the path of what it made.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `layerfs` program.
pub fn layerfs() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find("layerfs", "LAYERFS_BIN"))
}

/// The `runner` program.
pub fn runner() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find("runner", "RUNNER_BIN"))
}

/// A conformance suite that `tests/run` installs from crates.io into `target/tools`.
pub fn suite(name: &str) -> PathBuf {
    let path = workspace().join("target/tools/bin").join(name);
    assert!(
        path.is_file(),
        "{} is missing: ./tests/run installs it (see SUITES there)",
        path.display()
    );
    path
}

/// Whether the long form of the suites is wanted (`./tests/run --long`).
pub fn long() -> bool {
    std::env::var_os("TESTS_LONG").is_some()
}

fn find(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable} = {}: no such file",
            path.display()
        );
        return path;
    }
    let release = !cfg!(debug_assertions);
    build(name, release).unwrap_or_else(|error| panic!("{error}"))
}

/// The program as it is shipped; `NAME_BIN` in the environment counts here too.
///
/// # Errors
/// If it does not compile.
pub fn release(name: &str) -> io::Result<PathBuf> {
    match std::env::var_os(format!("{}_BIN", name.to_uppercase())) {
        Some(path) => Ok(PathBuf::from(path)),
        None => build(name, true),
    }
}

/// Builds the package and reads the path from cargo's messages: whatever the target directory.
fn build(name: &str, release: bool) -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(["build", "--quiet", "--bin", name, "-p", name])
        .args(["--message-format", "json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let failed = || io::Error::other(format!("{command:?}: {}", output.status));
    if !output.status.success() {
        return Err(failed());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(failed)
}

/// The top of the repository.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
