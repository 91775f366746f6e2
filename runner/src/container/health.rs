//! Whether a container is well: what is asked of it, and what it answered.

use crate::types::Moment;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Answers kept.
const KEPT: usize = 5;

/// Bytes of an answer that are kept.
pub const ANSWER: usize = 4096;

/// A command that tells by its exit code whether a container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Its words.
    pub command: Vec<String>,
    /// From the end of one to the next, in nanoseconds.
    pub interval: u64,
    /// How long one may take, in nanoseconds.
    pub timeout: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// So long after the start failures do not count, in nanoseconds.
    pub start_period: u64,
}

impl HealthCheck {
    /// From the end of one to the next.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How long one may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout)
    }
}

/// How a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    #[default]
    Starting,
    /// Well.
    Healthy,
    /// Not well.
    Unhealthy,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthState {
    /// How it is.
    pub status: Health,
    /// Failures in a row.
    pub failing: u32,
    /// The last answers, oldest first.
    pub log: Vec<Answer>,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// When it was asked.
    pub start: Moment,
    /// When it was answered.
    pub end: Moment,
    /// The command's exit code; -1 if it took too long or could not be started.
    pub code: i32,
    /// The beginning of what it said.
    pub output: String,
}

impl HealthState {
    /// Takes an answer, got so long after the container's start; whether that changes how it is.
    pub fn take(&mut self, answer: Answer, check: &HealthCheck, age: Duration) -> bool {
        let before = self.status;
        if answer.code == 0 {
            self.failing = 0;
            self.status = Health::Healthy;
        } else if self.status != Health::Starting || age.as_nanos() >= check.start_period.into() {
            self.failing += 1;
            if self.failing >= check.retries {
                self.status = Health::Unhealthy;
            }
        }
        self.log.push(answer);
        let old = self.log.len().saturating_sub(KEPT);
        self.log.drain(..old);
        self.status != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_count_but_not_at_the_start() {
        let check = HealthCheck {
            command: Vec::new(),
            interval: 1,
            timeout: 1,
            retries: 2,
            start_period: Duration::from_secs(10).as_nanos() as u64,
        };
        let mut state = HealthState::default();
        let mut take = |code, age| {
            let answer = Answer {
                start: Moment::now(),
                end: Moment::now(),
                code,
                output: String::new(),
            };
            state.take(answer, &check, Duration::from_secs(age));
            (state.status, state.failing, state.log.len())
        };
        assert_eq!(take(1, 1), (Health::Starting, 0, 1));
        assert_eq!(take(0, 2), (Health::Healthy, 0, 2));
        // Once it was well, failures count at any time.
        assert_eq!(take(1, 3), (Health::Healthy, 1, 3));
        assert_eq!(take(0, 4), (Health::Healthy, 0, 4));
        assert_eq!(take(1, 20), (Health::Healthy, 1, 5));
        assert_eq!(take(1, 21), (Health::Unhealthy, 2, 5));
        assert_eq!(take(0, 22), (Health::Healthy, 0, 5));
    }
}
