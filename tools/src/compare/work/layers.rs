//! The same files spread over 1 to 500 layers: mount, first listing, missing names.

use std::os::fd::AsFd;

use crate::compare::client::{miss, numbered, repeat};
use crate::compare::samples::{Row, Unit};
use crate::compare::scenario::Scenario;

const GROUP: &str = "Layers";
const COUNTS: [u32; 5] = [1, 10, 50, 128, 500];

pub(super) fn all() -> Vec<Scenario> {
    COUNTS.into_iter().map(stack).collect()
}

fn stack(count: u32) -> Scenario {
    let row = |name, unit| Row::at(GROUP, (name, count), unit);
    let rows = vec![
        row("mount", Unit::Millis),
        row("first ls -R", Unit::Millis),
        row("missing name", Unit::Micros),
    ];
    let [mounting, listing, missing] = [0, 1, 2].map(|i: usize| rows[i].name.clone());
    let name = format!("layers {count}");
    let scenario = Scenario::new(name, &[], rows, move |bench| {
        bench.warm_layers("many")?;
        let took = bench.fresh()?.took;
        if !bench.contender.is_copy() {
            bench.note(&mounting, took.as_secs_f64());
        }
        let list = bench.outside(&["ls", "-R"])?;
        bench.time_program(&listing, list)?;
        let budget = bench.common.scale.budget;
        let names = numbered("many/0", "missing", budget.most);
        bench.time(&missing, |root| {
            repeat(budget, |i| miss(root.fd.as_fd(), &names[i]))
        })
    });
    scenario.stack(count as usize)
}
