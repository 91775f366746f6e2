//! Sequences of which one failed once.
