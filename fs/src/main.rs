//! The `layerfs` command.

fn main() {
    std::process::exit(layerfs::cli::run(std::env::args_os()));
}
