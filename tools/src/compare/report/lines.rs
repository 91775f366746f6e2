//! The plots by count: what the number of layers costs, and what more threads bring.

use super::axis::Axis;
use super::svg::{Anchor, INK, Look, QUIET, RULE, Svg, looks};
use crate::compare::samples::{Entrant, Run, Unit, digits};

const WIDTH: f64 = 1000.0;
const PANEL: (f64, f64) = (320.0, 250.0);
const PLOT: (f64, f64) = (250.0, 160.0);

/// One line in a panel: (count, seconds).
type Points = Vec<(f64, f64)>;

/// What one panel shows.
struct Panel<'a> {
    group: &'a str,
    name: &'a str,
    unit: Unit,
    counts: Vec<f64>,
    lines: Vec<(Look, Points)>,
}

/// The picture; none if nothing was measured by count.
pub(super) fn by_count(run: &Run) -> Option<String> {
    let looks = looks(run);
    let panels = panels(run, &looks);
    if panels.is_empty() {
        return None;
    }
    let mut svg = Svg::new(WIDTH);
    let top = svg.legend((24.0, 26.0), &looks) + 6.0;
    let mut group = "";
    let (mut column, mut y) = (0, top - PANEL.1);
    for panel in &panels {
        if panel.group != group || column == 3 {
            (group, column, y) = (panel.group, 0, y + PANEL.1);
        }
        draw(&mut svg, (24.0 + f64::from(column) * PANEL.0, y), panel);
        column += 1;
    }
    Some(svg.finish(y + PANEL.1))
}

fn panels<'a>(run: &'a Run, looks: &[(&Entrant, Look)]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for row in &run.rows {
        let Some(series) = &row.series else { continue };
        let known = panels
            .iter()
            .position(|p| p.group == row.group && p.name == series.name);
        let place = known.unwrap_or_else(|| {
            panels.push(Panel {
                group: &row.group,
                name: &series.name,
                unit: row.unit,
                counts: Vec::new(),
                lines: looks.iter().map(|(_, look)| (*look, Vec::new())).collect(),
            });
            panels.len() - 1
        });
        let count = f64::from(series.count);
        let panel = &mut panels[place];
        panel.counts.push(count);
        for ((entrant, _), (_, points)) in looks.iter().zip(&mut panel.lines) {
            if let Some(summary) = row.summary(&entrant.key) {
                points.push((count, summary.median));
            }
        }
    }
    panels.sort_by_key(|panel| panel.group);
    panels
}

fn draw(svg: &mut Svg, (left, top): (f64, f64), panel: &Panel<'_>) {
    let title = format!("{}, {}", panel.name, panel.unit.sign());
    svg.heading((left, top + 20.0), 13.0, &title);
    let (x0, y0) = (left + 36.0, top + 40.0 + PLOT.1);
    let across = Axis::over(panel.counts.iter().copied(), x0, PLOT.0);
    let values = panel.lines.iter().flat_map(|(_, points)| points);
    let up = Axis::over(values.map(|(_, value)| *value), y0, -PLOT.1);
    // The ticks are round in the unit that is shown.
    let shown = Axis::over(
        panel
            .lines
            .iter()
            .flat_map(|(_, p)| p)
            .map(|(_, v)| panel.unit.of(*v)),
        y0,
        -PLOT.1,
    );
    for tick in shown.ticks() {
        let y = shown.at(tick);
        svg.line((x0, y), (x0 + PLOT.0, y), RULE, 1.0);
        svg.text(
            (x0 - 6.0, y + 4.0),
            Anchor::End,
            10.0,
            QUIET,
            &tick_text(tick),
        );
    }
    for &count in &panel.counts {
        svg.text(
            (across.at(count), y0 + 16.0),
            Anchor::Middle,
            10.0,
            QUIET,
            &count.to_string(),
        );
    }
    let below = (x0 + PLOT.0 / 2.0, y0 + 32.0);
    svg.text(
        below,
        Anchor::Middle,
        10.0,
        INK,
        &panel.group.to_lowercase(),
    );
    for (look, points) in &panel.lines {
        let places: Vec<_> = points
            .iter()
            .map(|(x, y)| (across.at(*x), up.at(*y)))
            .collect();
        svg.path(&places, look.color, 1.6, look.dash);
        for place in places {
            svg.mark(place, *look, 3.0);
        }
    }
}

fn tick_text(tick: f64) -> String {
    if tick < 1.0 {
        digits(tick)
    } else {
        tick.to_string()
    }
}
