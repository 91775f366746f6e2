//! Measures layerfs beside other union file systems; see `compare --help`.

fn main() -> std::process::ExitCode {
    tools::compare::main()
}
