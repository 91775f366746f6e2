//! A work: what it needs, which lines of the table it fills, and how it goes.

use super::bench::Bench;
use super::error::Result;
use super::fixture::Part;
use super::samples::Row;

/// What a work is mounted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layers {
    /// Two layers: the base and the patch.
    Root,
    /// So many layers.
    Stack(usize),
}

type Body = Box<dyn Fn(&mut Bench<'_>) -> Result<()>>;

/// A work that each contender does in turn, in each round anew.
pub(super) struct Scenario {
    /// Its name for --only and the progress bar.
    pub(super) name: String,
    pub(super) layers: Layers,
    pub(super) parts: Vec<Part>,
    /// What it changes of the layers' content; on the plain copy this is put back.
    pub(super) changes: Vec<&'static str>,
    /// A program of the machine that it needs and a Debian machine may not have.
    pub(super) needs: Option<&'static str>,
    /// The lines that it fills.
    pub(super) rows: Vec<Row>,
    pub(super) body: Body,
}

impl Scenario {
    /// A work over the two layers.
    pub(super) fn new(
        name: impl Into<String>,
        parts: &[Part],
        rows: Vec<Row>,
        body: impl Fn(&mut Bench<'_>) -> Result<()> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            layers: Layers::Root,
            parts: parts.to_vec(),
            changes: Vec::new(),
            needs: None,
            rows,
            body: Box::new(body),
        }
    }

    /// Says what it changes.
    pub(super) fn changes(mut self, paths: &[&'static str]) -> Self {
        self.changes = paths.to_vec();
        self
    }

    /// Says what must be installed.
    pub(super) fn needs(mut self, program: &'static str) -> Self {
        self.needs = Some(program);
        self
    }

    /// Mounts it over a stack instead.
    pub(super) fn stack(mut self, count: usize) -> Self {
        self.layers = Layers::Stack(count);
        self
    }
}
