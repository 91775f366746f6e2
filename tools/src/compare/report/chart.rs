//! The plot of ratios: a line for each work, a mark for each contender, overlayfs at 1.

use super::axis::Axis;
use super::svg::{Anchor, INK, Look, QUIET, RULE, Svg, looks};
use crate::compare::samples::{Entrant, PLAIN, Row, Run, YARDSTICK, digits, rounds};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 900.0;
const ROW: f64 = 20.0;
const BETTER: &str = "#d3f9d8";
const WORSE: &str = "#ffe3e3";

/// The picture.
pub(super) fn ratios(run: &Run) -> String {
    let rows: Vec<&Row> = run.rows.iter().filter(|row| row.series.is_none()).collect();
    let looks = looks(run);
    // The plain copy may lie far out, where it would press all others together.
    let unions = looks.iter().filter(|(c, _)| c.key != PLAIN);
    let all = rows
        .iter()
        .flat_map(|row| unions.clone().filter_map(|(c, _)| row.ratio(&c.key)));
    let axis = Axis::over(all.chain([0.5, 2.0]), LEFT, RIGHT - LEFT);

    let mut svg = Svg::new(WIDTH);
    svg.heading(
        (24.0, 36.0),
        18.0,
        &format!("Each work, as a multiple of {}", run.yardstick()),
    );
    let machine = &run.machine;
    let under = format!(
        "{}, {} × {}, Linux {}, {}; less is better",
        machine.date,
        machine.cpus,
        machine.cpu,
        machine.kernel,
        rounds(run.rounds)
    );
    svg.text((24.0, 56.0), Anchor::Start, 12.0, QUIET, &under);
    let shown: Vec<_> = looks
        .iter()
        .filter(|(c, _)| c.key != YARDSTICK)
        .copied()
        .collect();
    let top = svg.legend((24.0, 82.0), &shown) + 16.0;

    let groups = grouped(&rows);
    let height = groups
        .iter()
        .map(|(_, rows)| (rows.len() as f64 + 1.6) * ROW)
        .sum::<f64>();
    scale(&mut svg, axis, top, height);
    let mut y = top;
    for (group, rows) in groups {
        y += 1.1 * ROW;
        svg.heading((24.0, y), 13.0, group);
        y += 0.5 * ROW;
        for row in rows {
            work(&mut svg, axis, y + ROW / 2.0, row, &shown);
            y += ROW;
        }
    }
    svg.finish(top + height + 44.0)
}

fn grouped<'a>(rows: &[&'a Row]) -> Vec<(&'a str, Vec<&'a Row>)> {
    let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match groups.last_mut() {
            Some((group, rows)) if *group == row.group => rows.push(row),
            _ => groups.push((&row.group, vec![row])),
        }
    }
    groups
}

/// The lines of the axis, their numbers above and below, and what the sides mean.
fn scale(svg: &mut Svg, axis: Axis, top: f64, height: f64) {
    for tick in axis.ticks() {
        let x = axis.at(tick);
        let one = tick == 1.0;
        let (color, width) = if one { (INK, 1.4) } else { (RULE, 1.0) };
        svg.line((x, top), (x, top + height), color, width);
        for y in [top - 6.0, top + height + 16.0] {
            let color = if one { INK } else { QUIET };
            svg.text((x, y), Anchor::Middle, 11.0, color, &tick.to_string());
        }
    }
    let (one, y) = (axis.at(1.0), top + height + 34.0);
    svg.text((one - 12.0, y), Anchor::End, 11.0, QUIET, "← faster");
    svg.text((one + 12.0, y), Anchor::Start, 11.0, QUIET, "slower →");
    svg.text(
        (WIDTH - 24.0, top - 6.0),
        Anchor::End,
        11.0,
        QUIET,
        "best of ours",
    );
}

/// One line: a bar from 1 to the best of ours, the marks, and the best as a number.
fn work(svg: &mut Svg, axis: Axis, y: f64, row: &Row, looks: &[(&Entrant, Look)]) {
    svg.text((LEFT - 14.0, y + 4.0), Anchor::End, 12.0, INK, &row.name);
    let ours = looks.iter().filter(|(c, _)| c.ours.is_some());
    let best = ours
        .filter_map(|(c, _)| row.ratio(&c.key))
        .min_by(f64::total_cmp);
    if let Some(best) = best {
        let color = if best <= 1.0 { BETTER } else { WORSE };
        let (from, to) = (
            axis.at(1.0).min(axis.at(best)),
            axis.at(1.0).max(axis.at(best)),
        );
        svg.area((from, y - 7.0), (to - from, 14.0), color);
        svg.text(
            (WIDTH - 24.0, y + 4.0),
            Anchor::End,
            12.0,
            INK,
            &digits(best),
        );
    }
    // Ours on top of the others.
    let (ours, others): (Vec<_>, Vec<_>) =
        looks.iter().copied().partition(|(c, _)| c.ours.is_some());
    for (entrant, look) in others.into_iter().chain(ours) {
        if let Some(ratio) = row.ratio(&entrant.key) {
            svg.mark((axis.at(ratio), y), look, 4.5);
        }
    }
}
