//! Benches of layerfs and runner.
