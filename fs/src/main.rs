//! The `layerfs` command.

fn main() {}
