//! What the user sees of a pull or push: docker's lines, or bars on a terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::Arc;

/// Where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Standard output.
    Stdout,
    /// Standard error: for commands whose output is somebody else's.
    Stderr,
    /// Nowhere.
    Nowhere,
}

/// Tells the user what happens.
#[derive(Debug, Clone)]
pub struct Progress {
    to: To,
    bars: Option<Arc<MultiProgress>>,
}

impl Progress {
    /// Bars if a terminal is there, lines elsewhere.
    pub fn new(to: To) -> Self {
        let target = match to {
            To::Stdout if stdout().is_terminal() => Some(ProgressDrawTarget::stdout()),
            To::Stderr if stderr().is_terminal() => Some(ProgressDrawTarget::stderr()),
            _ => None,
        };
        Self {
            to,
            bars: target.map(|target| Arc::new(MultiProgress::with_draw_target(target))),
        }
    }

    /// One line of its own. Nobody who has gone is missed.
    pub fn line(&self, text: impl Display) {
        let write = || match self.to {
            To::Stdout => writeln!(stdout(), "{text}"),
            To::Stderr => writeln!(stderr(), "{text}"),
            To::Nowhere => Ok(()),
        };
        let _ = match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        };
    }

    /// The line of one layer.
    pub(super) fn layer(&self, name: &str) -> Item {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(style("{prefix}: {msg}"));
            bar.set_prefix(name.to_owned());
            bar
        });
        Item {
            name: name.to_owned(),
            bar,
            progress: self.clone(),
        }
    }
}

/// One layer on its way.
#[derive(Debug)]
pub(super) struct Item {
    name: String,
    bar: Option<ProgressBar>,
    progress: Progress,
}

impl Item {
    /// A word about its state.
    pub(super) fn says(&self, state: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{prefix}: {msg}"));
                bar.set_message(state.to_owned());
                bar.tick();
            }
            None => self.progress.line(format_args!("{}: {state}", self.name)),
        }
    }

    /// Begins to count bytes; lines elsewhere say nothing of it.
    pub(super) fn counts(&self, state: &str, length: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(length);
            bar.set_message(state.to_owned());
            bar.set_style(style("{prefix}: {msg} [{bar:50.=>}] {bytes}/{total_bytes}"));
        }
    }

    /// More bytes went by.
    pub(super) fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// The last word.
    pub(super) fn ends(self, state: &str) {
        self.says(state);
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template is wrong or right for ever; the plain bar will do.
    let style = ProgressStyle::with_template(template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
