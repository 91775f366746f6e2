//! The works, in the order of the table.

mod changes;
mod data;
mod layers;
mod names;
mod programs;
mod threads;

pub(super) use programs::GROUP as PROGRAMS;

use super::scenario::Scenario;

/// All works.
pub(super) fn all() -> Vec<Scenario> {
    [
        names::all(),
        data::all(),
        changes::all(),
        programs::all(),
        layers::all(),
        threads::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
