//! Dockerfiles: read, and applied to an image's settings.
//!
//! ```text
//!   text ──lines──> instructions' lines, joined, with their here-documents
//!        ──parse──> Instruction ──settings──> image::Config
//!                     └ words   quotes, ${NAME:-…}
//!   .dockerignore ──ignore──> which files of the context count
//! ```
//!
//! An own parser: the published ones either keep no place for messages or know no here-documents.

pub mod ignore;
pub mod lines;
pub mod parse;
pub mod settings;
pub mod words;

pub use ignore::Ignore;
pub use lines::Fault;
pub use parse::{Check, Command, Copy, From, Instruction, Kind, Run, Source, parse, parse_alone};

#[cfg(test)]
mod tests;
