//! Hostile input: archives and images made to break out, to confuse, or to fill the machine.
#![allow(clippy::unwrap_used)]

mod archives;
mod images;
mod layers;
