//! The table, in Markdown.

use std::fmt::Write as _;

use crate::compare::samples::{Entrant, Goal, Row, Run, digits, rounds};
use crate::compare::statistics::geometric_mean;
use crate::compare::work::PROGRAMS;

/// The whole report.
pub(super) fn markdown(run: &Run) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, run);
    let _ = medians(&mut out, run);
    let _ = sums(&mut out, run);
    let _ = losses(&mut out, run);
    let _ = failures(&mut out, run);
    let _ = spreads(&mut out, run);
    out
}

fn head(out: &mut String, run: &Run) -> std::fmt::Result {
    let machine = &run.machine;
    writeln!(out, "# layerfs beside others, {}\n", machine.date)?;
    writeln!(
        out,
        "{}: {} × {}, {} GiB, Linux {}, {}; commit {}; `compare {}`, {}.\n",
        machine.host,
        machine.cpus,
        machine.cpu,
        machine.memory_gib,
        machine.kernel,
        machine.disk,
        machine.commit,
        run.command,
        rounds(run.rounds)
    )?;
    writeln!(out, "![Ratios to {}](plot.svg)\n", run.yardstick())?;
    writeln!(out, "| contender | version | how |\n| --- | --- | --- |")?;
    for entrant in &run.contenders {
        let Entrant {
            title,
            version,
            how,
            ..
        } = entrant;
        writeln!(out, "| {title} | {version} | `{how}` |")?;
    }
    writeln!(out)
}

/// The header line of a table, and the one below it.
fn columns(out: &mut String, run: &Run, first: &str) -> std::fmt::Result {
    write!(out, "| {first} |")?;
    for entrant in &run.contenders {
        write!(out, " {} |", entrant.title)?;
    }
    let right = " ---: |".repeat(run.contenders.len());
    let left = " --- |".repeat(first.split('|').count());
    writeln!(out, "\n|{left}{right}")
}

fn medians(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(
        out,
        "Medians, and in brackets the ratio to {0}: less is better. Bold: ours misses its target (or, where there is none, is slower than {0}).\n",
        run.yardstick()
    )?;
    for group in run.groups() {
        writeln!(out, "## {group}\n")?;
        columns(out, run, "work | unit | target")?;
        for row in run.rows.iter().filter(|row| row.group == group) {
            write!(
                out,
                "| {} | {} | {} |",
                row.name,
                row.unit.sign(),
                target(row)
            )?;
            for entrant in &run.contenders {
                write!(out, " {} |", cell(row, entrant))?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn target(row: &Row) -> String {
    let goal = |goal: &Goal| match goal {
        Goal::Most(most) => format!("≤ {} {}", digits(row.unit.of(*most)), row.unit.sign()),
        Goal::Faster { than, times } => format!("{times} × as fast as {than}"),
    };
    if !row.goals.is_empty() {
        return row.goals.iter().map(goal).collect::<Vec<_>>().join(", ");
    }
    match row.target {
        None => String::new(),
        Some(t) if t.cached == t.passthrough => format!("≤ {}", t.cached),
        Some(t) => format!("≤ {} / {}", t.cached, t.passthrough),
    }
}

fn cell(row: &Row, entrant: &Entrant) -> String {
    let Some(summary) = row.summary(&entrant.key) else {
        return if row.failed.contains_key(&entrant.key) {
            "fails".to_owned()
        } else {
            "–".to_owned()
        };
    };
    let value = row.unit.show(summary.median);
    let Some(ratio) = row
        .ratio(&entrant.key)
        .filter(|_| entrant.key != row.yardstick)
    else {
        return value;
    };
    let text = format!("{value} ({})", digits(ratio));
    let loses = entrant.ours.is_some() && row.misses(entrant).unwrap_or(ratio > 1.0);
    if loses { format!("**{text}**") } else { text }
}

/// What all lines together say.
fn sums(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(out, "## In sum\n")?;
    columns(out, run, "geometric mean of the ratios")?;
    for (name, group) in [("real programs", Some(PROGRAMS)), ("all lines", None)] {
        write!(out, "| {name} |")?;
        for entrant in &run.contenders {
            let rows = run
                .rows
                .iter()
                .filter(|row| group.is_none_or(|g| row.group == g));
            let mean = geometric_mean(rows.filter_map(|row| row.ratio(&entrant.key)));
            write!(out, " {} |", mean.map_or_else(|| "–".to_owned(), digits))?;
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    for ours in run.ours() {
        let targets = run.rows.iter().filter_map(|row| row.misses(ours));
        let (missed, all) = targets.fold((0, 0), |(missed, all), miss| {
            (missed + usize::from(miss), all + 1)
        });
        write!(
            out,
            "- {}: {} of {all} targets met",
            ours.title,
            all - missed
        )?;
        for peer in run
            .contenders
            .iter()
            .filter(|c| c.key.starts_with("fuse-overlayfs"))
        {
            let mut faster: Vec<f64> = run
                .rows
                .iter()
                .filter_map(|row| row.ratio_to(&peer.key, &ours.key))
                .collect();
            faster.sort_by(f64::total_cmp);
            let better = faster.iter().filter(|&&times| times >= 1.0).count();
            let middle = faster.get(faster.len() / 2).copied().unwrap_or_default();
            write!(
                out,
                "; faster than {} in {better} of {} lines, {} times in the median",
                peer.title,
                faster.len(),
                digits(middle)
            )?;
        }
        writeln!(out, ".")?;
    }
    writeln!(out)
}

/// Where ours is slower than the yardstick or misses a target.
fn losses(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(out, "## Where ours loses\n")?;
    let mut none = true;
    for row in &run.rows {
        let mut places = Vec::new();
        for ours in run.ours() {
            let Some(ratio) = row.ratio(&ours.key) else {
                continue;
            };
            if row.misses(ours).unwrap_or(false) || ratio > 1.0 {
                places.push(format!("{} {}", ours.title, digits(ratio)));
            }
        }
        if !places.is_empty() {
            none = false;
            let wanted = match target(row) {
                empty if empty.is_empty() => String::new(),
                text => format!(" (target {text})"),
            };
            writeln!(out, "- {}{wanted}: {}", row.name, places.join(", "))?;
        }
    }
    if none {
        writeln!(out, "Nowhere in this run.")?;
    }
    writeln!(out)
}

fn failures(out: &mut String, run: &Run) -> std::fmt::Result {
    let failed = run.rows.iter().flat_map(|row| {
        let title = |key: &str| {
            run.contenders
                .iter()
                .find(|c| c.key == key)
                .map(|c| &c.title)
        };
        row.failed
            .iter()
            .filter_map(move |(key, why)| Some((title(key)?, &row.name, why)))
    });
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(out, "## What failed\n")?;
    for (title, name, why) in failed {
        writeln!(out, "- {title}, {name}: {why}")?;
    }
    writeln!(out)
}

fn spreads(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(
        out,
        "## Spread\n\nLeast – most of the rounds; the samples are in samples.json.\n"
    )?;
    columns(out, run, "work | unit")?;
    for row in &run.rows {
        write!(out, "| {} | {} |", row.name, row.unit.sign())?;
        for entrant in &run.contenders {
            let text = row.summary(&entrant.key).map_or_else(String::new, |s| {
                format!("{} – {}", row.unit.show(s.least), row.unit.show(s.most))
            });
            write!(out, " {text} |")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
