//! The container runner.
