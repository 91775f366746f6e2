//! The container runner, by verb and topic.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod cleanup;
mod exit;
mod images;
mod isolation;
mod limits;
mod real;
mod settings;
mod streams;
mod terminal;
mod volumes;
