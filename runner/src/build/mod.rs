//! Building images by Dockerfiles.
//!
//! ```text
//!   text ──lines──> instructions' lines, joined, with their here-documents
//!        ──parse──> Instruction ──settings──> image::Config
//!                     └ words   quotes, ${NAME:-…}
//!   make ── the stages that are needed, in order; ARG
//!     └ stage ── one stage: RUN, COPY, ADD, WORKDIR make layers
//!         ├ copy ── COPY and ADD;  sources ── what they name, as a tar;  ignore ── .dockerignore
//!         ├ run ── RUN;  mounts, mount_flags ── its --mount
//!         └ cache ── which layer an instruction made of what
//!   changes ── instructions of settings alone, for commit and import
//! ```
//!
//! An own parser: the published ones either keep no place for messages or know no here-documents.

pub mod cache;
pub mod changes;
mod copy;
pub mod ignore;
pub mod lines;
pub mod make;
mod mount_flags;
pub mod mounts;
pub mod parse;
mod run;
pub mod settings;
pub mod sources;
pub mod stage;
pub mod words;

pub use ignore::Ignore;
pub use lines::Fault;
pub use parse::{Check, Command, Copy, From, Instruction, Kind, Run, Source, parse, parse_alone};

#[cfg(test)]
mod tests;
