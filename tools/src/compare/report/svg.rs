//! A writer of SVG, as far as the plots need it, and how contenders look in all of them.

use std::fmt::Write as _;

use crate::compare::samples::{Entrant, PLAIN, Run, YARDSTICK};

/// A picture in the making.
pub(super) struct Svg {
    width: f64,
    body: String,
}

/// How a text stands to its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The mark of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Circle,
    Diamond,
    Cross,
    Bar,
}

/// How a contender is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) color: &'static str,
    pub(super) shape: Shape,
    pub(super) dash: &'static str,
}

/// Text, quiet text, rules, the paper.
pub(super) const INK: &str = "#212529";
pub(super) const QUIET: &str = "#868e96";
pub(super) const RULE: &str = "#dee2e6";
const PAPER: &str = "#ffffff";

/// Colours of our modes that colour-blind people can tell apart.
const OURS: [&str; 4] = ["#e69f00", "#0072b2", "#009e73", "#cc79a7"];

/// Looks of the contenders, in their order.
pub(super) fn looks(run: &Run) -> Vec<(&Entrant, Look)> {
    let mut ours = OURS.iter().cycle();
    let others = [
        (Shape::Circle, "6 3"),
        (Shape::Diamond, "2 3"),
        (Shape::Cross, "1 4"),
    ];
    let mut others = others.iter().cycle();
    let mut look = |entrant: &Entrant| {
        if entrant.ours.is_some() {
            let color = ours.next().copied().unwrap_or(INK);
            return Look {
                color,
                shape: Shape::Disc,
                dash: "",
            };
        }
        match entrant.key.as_str() {
            PLAIN => Look {
                color: QUIET,
                shape: Shape::Bar,
                dash: "",
            },
            YARDSTICK => Look {
                color: INK,
                shape: Shape::Bar,
                dash: "",
            },
            _ => {
                let (shape, dash) = others.next().copied().unwrap_or((Shape::Cross, ""));
                Look {
                    color: QUIET,
                    shape,
                    dash,
                }
            }
        }
    };
    run.contenders
        .iter()
        .map(|entrant| (entrant, look(entrant)))
        .collect()
}

impl Svg {
    /// An empty picture; its height is told at the end.
    pub(super) fn new(width: f64) -> Self {
        Self {
            width,
            body: String::new(),
        }
    }

    /// The file's text.
    pub(super) fn finish(self, height: f64) -> String {
        let Self { width, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" \
             font-family=\"Inter, Helvetica, Arial, sans-serif\">\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{PAPER}\"/>\n{body}</svg>\n"
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// A text; `style` is more attributes.
    pub(super) fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        size: f64,
        fill: &str,
        text: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{fill}\">{text}</text>"
        ));
    }

    /// The same in bold, from its left end.
    pub(super) fn heading(&mut self, (x, y): (f64, f64), size: f64, text: &str) {
        let text = escape(text);
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"600\" fill=\"{INK}\">{text}</text>"
        ));
    }

    /// A filled rectangle.
    pub(super) fn area(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
        ));
    }

    /// A straight line.
    pub(super) fn line(
        &mut self,
        (x1, y1): (f64, f64),
        (x2, y2): (f64, f64),
        color: &str,
        width: f64,
    ) {
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\" stroke-width=\"{width}\" stroke-linecap=\"round\"/>"
        ));
    }

    /// A line through points.
    pub(super) fn path(&mut self, points: &[(f64, f64)], color: &str, width: f64, dash: &str) {
        let places: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.put(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" stroke-dasharray=\"{dash}\" stroke-linejoin=\"round\"/>",
            places.join(" ")
        ));
    }

    /// The mark of a contender, `size` from its middle to its edge.
    pub(super) fn mark(&mut self, (x, y): (f64, f64), look: Look, size: f64) {
        let Look { color, shape, .. } = look;
        match shape {
            Shape::Disc => self.put(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\" fill=\"{color}\" stroke=\"{PAPER}\" stroke-width=\"1\"/>"
            )),
            Shape::Circle => self.put(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.4\"/>"
            )),
            Shape::Diamond => {
                let s = size * 1.2;
                let corners = [(x, y - s), (x + s, y), (x, y + s), (x - s, y), (x, y - s)];
                self.path(&corners, color, 1.4, "");
            }
            Shape::Cross => {
                let s = size * 0.8;
                self.line((x - s, y - s), (x + s, y + s), color, 1.4);
                self.line((x - s, y + s), (x + s, y - s), color, 1.4);
            }
            Shape::Bar => self.line((x, y - size * 1.3), (x, y + size * 1.3), color, 2.2),
        }
    }

    /// Marks with their names, in lines of at most the width of the picture; gives the y below.
    pub(super) fn legend(&mut self, (left, top): (f64, f64), looks: &[(&Entrant, Look)]) -> f64 {
        let (mut x, mut y) = (left, top);
        for (entrant, look) in looks {
            let width = 34.0 + 6.6 * entrant.title.chars().count() as f64;
            if x + width > self.width {
                (x, y) = (left, y + 20.0);
            }
            self.mark((x + 5.0, y), *look, 4.5);
            self.text(
                (x + 16.0, y + 4.0),
                Anchor::Start,
                12.0,
                INK,
                &entrant.title,
            );
            x += width;
        }
        y + 20.0
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_markup() {
        let mut svg = Svg::new(10.0);
        svg.text((0.0, 0.0), Anchor::End, 9.0, INK, "a < b & c");
        assert!(svg.finish(10.0).contains(">a &lt; b &amp; c</text>"));
    }
}
