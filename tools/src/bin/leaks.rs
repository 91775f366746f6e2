//! `leaks before FILE` notes what is there; `leaks after FILE` names what a test run left and
//! ends with 1 if there is anything.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tools::leaks::Before;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["before", file] => match std::fs::write(file, Before::now().to_text()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{file}: {error}")),
        },
        ["after", file] => match std::fs::read(file) {
            Ok(text) => after(&Before::from_text(&text)),
            Err(error) => fail(&format!("{file}: {error}")),
        },
        _ => fail("usage: leaks before FILE | leaks after FILE"),
    }
}

/// Daemons may take a moment to end: what is still there after some seconds is a leak.
fn after(before: &Before) -> ExitCode {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let found = before.leaks();
        if found.is_empty() {
            println!(
                "leaks: no mount, process, cgroup, directory, table, interface or loop device of ours is left"
            );
            return ExitCode::SUCCESS;
        }
        if Instant::now() > end {
            for leak in found {
                println!("leaks: {leak}");
            }
            return ExitCode::FAILURE;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("leaks: {message}");
    ExitCode::from(2)
}
