//! What a daemon does for an operation: its system calls, counted by strace. Times mean nothing
//! then, and none are noted.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::error::{Context, Result};

/// Time for strace to take hold of all threads; it does not tell when it has.
const TAKE_HOLD: Duration = Duration::from_millis(300);

/// A running strace on a daemon.
pub(super) struct Trace {
    strace: Child,
    table: PathBuf,
}

impl Trace {
    /// Begins to count; `table` is a file for strace's own report.
    ///
    /// # Errors
    /// If there is no strace.
    pub(super) fn begin(daemon: u32, table: &Path) -> Result<Self> {
        let strace = Command::new("strace")
            .args(["-f", "-c", "-p", &daemon.to_string(), "-o"])
            .arg(table)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .on("strace")?;
        sleep(TAKE_HOLD);
        Ok(Self {
            strace,
            table: table.to_owned(),
        })
    }

    /// Ends counting; the calls for each of `operations`, the most frequent first.
    ///
    /// # Errors
    /// If strace failed.
    pub(super) fn end(mut self, operations: f64) -> Result<String> {
        kill_process(Pid::from_child(&self.strace), Signal::INT).on("strace")?;
        self.strace.wait().on("strace")?;
        let report = fs::read_to_string(&self.table).on(self.table.display())?;
        Ok(per_operation(&calls(&report), operations))
    }
}

/// Calls and their names from a report of `strace -c`.
fn calls(report: &str) -> Vec<(u64, &str)> {
    let mut found: Vec<_> = report.lines().filter_map(call).collect();
    found.retain(|(_, name)| *name != "total");
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

/// A line: share of the time, seconds, µs for each call, calls, errors if any, name.
fn call(line: &str) -> Option<(u64, &str)> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [share, _, _, count, .., name] = words[..] else {
        return None;
    };
    share.parse::<f64>().ok()?;
    Some((count.parse().ok()?, name))
}

fn per_operation(calls: &[(u64, &str)], operations: f64) -> String {
    let all: u64 = calls.iter().map(|(count, _)| count).sum();
    let mut text = format!("{:.2}:", all as f64 / operations);
    for (count, name) in calls {
        let each = *count as f64 / operations;
        if each >= 0.02 {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name} {each:.2}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 66.67    0.000100           1        50        10 openat
 33.33    0.000050           0       100           read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000150           1       150        10 total
";

    #[test]
    fn calls_are_counted_for_each_operation() {
        let calls = calls(REPORT);
        assert_eq!(calls, [(100, "read"), (50, "openat")]);
        assert_eq!(per_operation(&calls, 100.0), "1.50: read 1.00 openat 0.50");
    }
}
