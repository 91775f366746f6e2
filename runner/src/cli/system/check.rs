//! `runner system check`: what is broken below the root directory, and mending it.

use super::super::output;
use crate::error::{Error, Result};
use crate::image::Store;
use crate::types::{Finding, Mend};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::Path;

/// Arguments of `system check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A problem is something that does not work. A note takes room only: it may be left by a command
that was killed. Without --repair nothing is written. What is mendable is mended by --repair,
which tells what it did; what a container has changed and what is in a volume is never taken
away. Uppers are checked by layerfs check.

Examples:
  runner system check
  runner system check --repair
  runner system check --quick --format json | jq '.[] | select(.problem)'

Exit codes: 0 no problem (or all were mended), 1 problems, 125 it could not be checked."
)]
pub(super) struct Args {
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
    /// Do not read the contents of layers, which takes as long as reading them
    #[arg(long)]
    quick: bool,
    /// Print as: text, json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let store = Store::open(root)?;
    if !args.quick && std::io::stderr().is_terminal() {
        eprintln!("reading all layers; --quick leaves that out");
    }
    let mut findings = store.check(!args.quick, args.repair)?;
    findings.extend(home.check(&store, args.repair)?);
    let left = |finding: &&Finding| finding.problem && finding.mend != Mend::Done;
    let problems = findings.iter().filter(left).count();
    if args.format == "json" {
        let all: Vec<Value> = findings.iter().map(as_json).collect();
        let text = serde_json::to_string_pretty(&all);
        let text =
            text.map_err(|e| Error::system::<std::io::Error>("describe findings")(e.into()))?;
        output::print(&format_args!("{text}\n"))?;
    } else {
        let mut text: String = findings.iter().map(as_text).collect();
        text.push_str(&match problems {
            0 => "clean\n".to_owned(),
            1 => "1 problem\n".to_owned(),
            count => format!("{count} problems\n"),
        });
        output::print(&text)?;
    }
    Ok(u8::from(problems > 0))
}

fn as_text(finding: &Finding) -> String {
    let word = if finding.problem {
        "problem"
    } else {
        "note   "
    };
    let advice = &finding.advice;
    let advice = match &finding.mend {
        Mend::Left => advice.clone(),
        Mend::Possible => format!("with --repair: {advice}"),
        Mend::Done => format!("repaired: {advice}"),
        Mend::Failed(why) => format!("not repaired: {why}"),
    };
    let (code, place, what) = (finding.code, finding.place.display(), &finding.what);
    // Errors that are findings may name the place themselves.
    match what.contains(&place.to_string()) {
        true => format!("{word} {code}: {what}\n        {advice}\n"),
        false => format!("{word} {code}: {place}: {what}\n        {advice}\n"),
    }
}

fn as_json(finding: &Finding) -> Value {
    let (state, error) = match &finding.mend {
        Mend::Left => ("left", None),
        Mend::Possible => ("mendable", None),
        Mend::Done => ("mended", None),
        Mend::Failed(why) => ("failed", Some(why)),
    };
    json!({
        "code": finding.code,
        "problem": finding.problem,
        "place": finding.place.to_string_lossy(),
        "what": finding.what,
        "advice": finding.advice,
        "state": state,
        "error": error,
    })
}
