//! `rules [--format json] DESIGN REPORT...` prints the contract's rules with the tests that check them
//! and how those ended; ends with 1 if a rule has no test or a failed one.

use std::process::ExitCode;

use tools::rules::{Table, rules, tests};

const USAGE: &str = "usage: rules [--format json] DESIGN REPORT...
DESIGN   the document that has the rules, fs/DESIGN.md
REPORT   nextest's junit.xml, or what `cargo test` printed
Example: rules fs/DESIGN.md target/nextest/default/junit.xml";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.starts_with(&["--format".to_owned(), "json".to_owned()]);
    if json {
        arguments.drain(..2);
    }
    let [design, reports @ ..] = arguments.as_slice() else {
        return fail(USAGE);
    };
    if reports.is_empty() {
        return fail(USAGE);
    }
    match read(design, reports) {
        Ok(table) => show(&table, json),
        Err(error) => fail(&error),
    }
}

fn read(design: &str, reports: &[String]) -> Result<Table, String> {
    let text =
        |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let rules = rules(&text(design)?);
    if rules.is_empty() {
        return Err(format!(
            "{design}: no rule in it (lines that begin with `- **R1** `)"
        ));
    }
    let mut all = Vec::new();
    for report in reports {
        all.extend(tests(&text(report)?).map_err(|error| format!("{report}: {error}"))?);
    }
    Ok(Table::new(rules, all))
}

fn show(table: &Table, json: bool) -> ExitCode {
    match json {
        true => println!("{}", table.json()),
        false => print!("{table}"),
    }
    let faults = table.faults();
    for fault in &faults {
        eprintln!("rules: {fault}");
    }
    match faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("rules: {message}");
    ExitCode::from(2)
}
