//! Builds the tests' Debian root if this machine has none, and prints where it is.

use std::process::ExitCode;

fn main() -> ExitCode {
    match tools::testroot::provide() {
        Ok(found) => {
            println!("{}\n{}", found.root.display(), found.tar.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("testroot: {error}");
            ExitCode::FAILURE
        }
    }
}
