//! `layerfs stats`: what a mount was asked, how often, and how long it took.

use std::path::PathBuf;

use crate::transport::{self, Statistics};

const EXAMPLES: &str = "\
Examples:
  layerfs stats /mnt
  layerfs stats --format json /mnt | jq '.operations[] | {name, count}'

Times are nanoseconds from taking a request to having its answer; the kernel's own share is not in
them. What the kernel answers from its caches is no request, and not counted.";

/// Print what a mounted layerfs was asked, how often, and how long it took.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// For people, or for programs
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    /// Where it is mounted
    mountpoint: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    super::start_logging(false);
    let stats = transport::stats(&args.mountpoint).map_err(|error| error.to_string())?;
    let text = match args.format.as_str() {
        "json" => serde_json::to_string_pretty(&stats).map_err(|error| error.to_string())? + "\n",
        _ => table(&stats),
    };
    // A closed pipe is no news.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    Ok(())
}

fn table(stats: &Statistics) -> String {
    let Statistics {
        transport,
        nodes,
        copy_ups,
        pooled,
        ..
    } = stats;
    let (read, written) = (stats.read_bytes, stats.written_bytes);
    let mut text = format!(
        "transport {transport}, {nodes} nodes, {copy_ups} copy-ups, {pooled} requests left to the pool\n\
         {read} bytes read, {written} bytes written\n\n\
         {:18} {:>10} {:>8} {:>10} {:>10} {:>10} {:>10}\n",
        "operation", "count", "errors", "mean ns", "p50 ns", "p90 ns", "p99 ns"
    );
    for one in &stats.operations {
        text += &format!(
            "{:18} {:>10} {:>8} {:>10} {:>10} {:>10} {:>10}\n",
            one.name, one.count, one.errors, one.mean_ns, one.p50_ns, one.p90_ns, one.p99_ns
        );
    }
    text
}
