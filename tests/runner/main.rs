//! The container runner, by verb and topic.
#![allow(clippy::unwrap_used)]

mod attach;
mod bad_input;
mod cleanup;
mod detach;
mod exec;
mod exit;
mod images;
mod isolation;
mod limits;
mod logs;
mod network;
mod pause;
mod ps;
mod real;
mod settings;
mod start;
mod stop;
mod streams;
mod terminal;
mod volume;
mod volumes;
