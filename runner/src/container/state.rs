//! How a container does: what `state.json` holds.
//!
//! The monitor alone writes it while it lives; else whoever holds the container's lock.

use super::health::HealthState;
use crate::types::Moment;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made; never ran, or its last start failed.
    #[default]
    Created,
    /// Its command runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its command has ended and is about to be started again.
    Restarting,
    /// Its command has ended.
    Exited,
}

impl Status {
    /// All of them, as docker orders them.
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Exited,
    ];

    /// Whether it has processes.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        })
    }
}

/// How a container does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// Its first process, in the host's numbers; 0 without one.
    pub pid: i32,
    /// Exit code of its last command, as told to the user.
    pub code: u8,
    /// The OOM killer struck in its last life.
    pub out_of_memory: bool,
    /// Why its last start failed; else empty.
    pub error: String,
    /// When its command last became alive.
    pub started: Option<Moment>,
    /// When its command last ended.
    pub finished: Option<Moment>,
    /// How often its restart policy has started it again.
    pub restarts: u32,
    /// How it is, if it is asked.
    #[serde(default)]
    pub health: Option<HealthState>,
}

impl State {
    /// Its first process has become the command.
    pub fn run(&mut self, pid: i32) {
        *self = Self {
            status: Status::Running,
            pid,
            started: Some(Moment::now()),
            restarts: self.restarts,
            ..Self::default()
        };
    }

    /// Its command has ended.
    pub fn end(&mut self, code: u8, out_of_memory: bool) {
        self.status = Status::Exited;
        self.pid = 0;
        self.code = code;
        self.out_of_memory = out_of_memory;
        self.finished = Some(Moment::now());
    }

    /// Its command could not be started: as docker, it then counts as not yet started.
    pub fn fail(&mut self, code: u8, error: String) {
        self.status = match self.started {
            Some(_) => Status::Exited,
            None => Status::Created,
        };
        self.pid = 0;
        self.code = code;
        self.error = error;
        self.finished = Some(Moment::now());
    }
}
