//! What is told, and looked after, when a container has ended.

use super::output;
use crate::container::Ended;
use crate::container::home::Home;
use crate::error::{Error, Result};

/// If the monitor was killed, cleans up after it at once.
pub(super) fn look_after<T>(home: &Home, done: Result<T>) -> Result<T> {
    if matches!(done, Err(Error::MonitorDied)) {
        for problem in home.sweep()? {
            output::warn(&format_args!("WARNING: {problem}"));
        }
    }
    done
}

/// Tells of a lack of memory; gives the exit code.
pub(super) fn tell(ended: &Ended) -> u8 {
    if ended.out_of_memory {
        output::complain(&out_of_memory(ended));
    }
    ended.code
}

fn out_of_memory(ended: &Ended) -> String {
    let who = if ended.code == 137 {
        "the container"
    } else {
        "a process of the container"
    };
    match ended.memory_limit {
        Some(limit) => format!(
            "out of memory: {who} was killed at its limit of {} (raise it with -m)",
            whole_size(limit)
        ),
        None => format!("out of memory: {who} was killed"),
    }
}

fn whole_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units
        .iter()
        .find(|(shift, _)| bytes >> shift > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(whole_size(64 << 20), "64 MiB");
        assert_eq!(whole_size(3 << 30), "3 GiB");
        assert_eq!(whole_size(1000), "1000 bytes");
    }
}
