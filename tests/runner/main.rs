//! The container runner, by verb and topic.
#![allow(clippy::unwrap_used)]

mod attach;
mod bad_input;
mod cleanup;
mod commit;
mod cp;
mod detach;
mod diff;
mod events;
mod exec;
mod exit;
mod health;
mod images;
mod isolation;
mod limits;
mod logs;
mod network;
mod networks;
mod pause;
mod port;
mod prune;
mod ps;
mod real;
mod save;
mod settings;
mod start;
mod stats;
mod stop;
mod streams;
mod system;
mod terminal;
mod top;
mod tuning;
mod update;
mod volume;
mod volumes;
