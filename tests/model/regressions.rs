//! Stories that once failed, shrunk.
