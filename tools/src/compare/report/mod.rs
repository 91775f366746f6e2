//! What is told of a run: table, plots, raw samples.

mod axis;
mod chart;
mod lines;
mod svg;
mod table;

use std::fs;
use std::path::Path;

use super::error::{Context, Result};
use super::samples::Run;

const SAMPLES: &str = "samples.json";

/// Writes everything into `directory`.
///
/// # Errors
/// Those of the disk.
pub(super) fn write(run: &Run, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).on(directory.display())?;
    let json = serde_json::to_string_pretty(run).on("samples")?;
    save(directory, SAMPLES, &json)?;
    draw(run, directory)?;
    println!("{}", directory.display());
    Ok(())
}

/// Draws the run in `directory` again.
///
/// # Errors
/// If there is none, or those of the disk.
pub(super) fn render(directory: &Path) -> Result<()> {
    let path = directory.join(SAMPLES);
    let text = fs::read_to_string(&path).on(path.display())?;
    let run: Run = serde_json::from_str(&text).on(path.display())?;
    draw(&run, directory)
}

fn draw(run: &Run, directory: &Path) -> Result<()> {
    save(directory, "README.md", &table::markdown(run))?;
    save(directory, "plot.svg", &chart::ratios(run))?;
    let lines = lines::by_count(run);
    match lines {
        Some(lines) => save(directory, "layers.svg", &lines),
        None => Ok(()),
    }
}

fn save(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    fs::write(&path, text).on(path.display())
}
