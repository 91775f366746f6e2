//! `layerfs check`: what is broken in an upper, and mending it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::output::{Format, print, print_json, put, quoted, texts};
use crate::inspect::check::{Finding, Report, State, check};
use crate::inspect::tree::Places;
use crate::layer::Trust;
use crate::layer::packed::expand;

/// So many notes of one kind are printed; more are counted.
const NOTES: usize = 5;

const EXAMPLES: &str = "\
A problem breaks a rule of the upper. A note is harmless: it may be left by a kill, or by another
union. Without --repair nothing is written. What is said to be mendable is mended by --repair, which
wants the layers of the last mount and tells what it did.

Give the layers: without them only the upper itself is checked. A mounted upper is refused.

Examples:
  layerfs check /srv/diff --work /srv/work --lower /srv/patch --lower /srv/base
  layerfs check /srv/diff --work /srv/work --lower /srv/patch --lower /srv/base --repair
  layerfs check u --work w --lower l --format json | jq '.findings[] | select(.problem)'

Exit codes: 0 no problem (or all were repaired), 1 problems, 2 wrong usage, or it could not be
checked (in use, unreadable).";

/// Find what is broken in an upper, and repair it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The upper
    upper: PathBuf,
    /// The workdir of the upper; needed to repair
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// A layer below it; repeated, the first given lies on top
    #[arg(long, value_name = "DIR")]
    lower: Vec<PathBuf>,
    /// Mend what can be mended
    #[arg(long, requires = "work")]
    repair: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Runs the verb; gives whether the upper is free of problems.
pub(super) fn run(args: Args) -> Result<bool, String> {
    super::start_logging(false);
    let places = Places {
        upper: Some(args.upper),
        work: args.work,
        lowers: expand(&args.lower).map_err(|error| error.to_string())?,
        trust: Trust::ALL,
    };
    let report = check(&places, args.repair).map_err(|error| format!("check: {error}"))?;
    match args.format {
        Format::Json => print_json(&as_json(&places, &report))?,
        Format::Text => print(&as_text(&report))?,
    }
    Ok(report.problems_left() == 0)
}

fn as_text(report: &Report) -> String {
    let mut text = String::new();
    let mut notes: HashMap<&str, usize> = HashMap::new();
    for finding in &report.findings {
        let seen = notes.entry(finding.code).or_default();
        *seen += 1;
        if finding.problem || *seen <= NOTES {
            text += &line(finding);
        }
    }
    let mut more: Vec<_> = notes
        .into_iter()
        .filter(|(_, seen)| *seen > NOTES)
        .collect();
    more.sort();
    for (code, seen) in more {
        let problem = |finding: &Finding| finding.code == code && finding.problem;
        if !report.findings.iter().any(problem) {
            text += &format!(
                "note     {code}: {} more (--format json tells all)\n",
                seen - NOTES
            );
        }
    }
    let problems = report.findings.iter().filter(|f| f.problem).count();
    let mended = problems - report.problems_left();
    text += &match (problems, mended) {
        (0, _) => format!("clean: {} objects\n", report.objects),
        (_, 0) => format!("{problems} problems, {} objects\n", report.objects),
        _ => format!(
            "{problems} problems, {mended} repaired, {} objects\n",
            report.objects
        ),
    };
    text
}

fn line(finding: &Finding) -> String {
    let word = if finding.problem {
        "problem "
    } else {
        "note    "
    };
    let advice = match &finding.state {
        State::Mendable => format!("with --repair: {}", finding.advice),
        State::Mended => format!("repaired: {}", finding.advice),
        State::Left => finding.advice.to_owned(),
        State::Failed(why) => format!("not repaired: {why}"),
    };
    format!(
        "{word} {}: {}: {}\n           {advice}\n",
        finding.code,
        quoted(&finding.place),
        finding.what
    )
}

fn as_json(places: &Places, report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        let mut object = Map::new();
        object.insert("code".to_owned(), finding.code.into());
        object.insert("problem".to_owned(), finding.problem.into());
        put(&mut object, "place", &finding.place);
        object.insert("what".to_owned(), finding.what.clone().into());
        object.insert("advice".to_owned(), finding.advice.into());
        let state = match &finding.state {
            State::Mendable => "mendable",
            State::Mended => "mended",
            State::Left => "left",
            State::Failed(why) => {
                object.insert("error".to_owned(), why.clone().into());
                "failed"
            }
        };
        object.insert("state".to_owned(), state.into());
        Value::from(object)
    });
    json!({
        "upper": texts(places.upper.as_deref()),
        "lowers": texts(places.lowers.iter().map(PathBuf::as_path)),
        "clean": report.problems_left() == 0,
        "objects": report.objects,
        "findings": findings.collect::<Vec<_>>(),
    })
}
