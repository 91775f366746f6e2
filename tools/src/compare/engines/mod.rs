//! Sections whose contenders are whole programs: runner, docker, runc, bubblewrap; pack, tar, inflate.
//!
//! ```text
//!   run ─> place     a network namespace of ours with an image, engines, a registry if one is needed
//!       └> startup, images, packing     Works: each is done by each engine in each round
//! ```
//!
//! Bridges, ports and packet filters of all engines live in that namespace and go with it.

mod engine;
mod images;
mod packing;
mod place;
mod startup;

use super::bench::Common;
use super::error::{Error, Result};
use super::options::{Options, Section};
use super::samples::{Entrant, Row};
use super::silence::Silence;
use engine::Engine;

/// What an engine has at hand in a work.
struct Turn<'a> {
    engine: &'a Engine,
    common: Common<'a>,
    rows: &'a mut [Row],
}

type Body = Box<dyn Fn(&mut Turn<'_>) -> Result<()>>;

/// A work, and who can do it.
struct Work {
    name: &'static str,
    rows: Vec<Row>,
    /// Keys of engines.
    by: &'static [&'static str],
    body: Body,
}

impl Turn<'_> {
    /// Notes a sample.
    fn note(&mut self, row: &str, value: f64) {
        let key = self.engine.key.to_owned();
        if let Some(row) = self.rows.iter_mut().find(|r| r.name == row) {
            row.samples.entry(key).or_default().push(value);
        }
    }

    /// Lets the engine do something; gives the seconds, and what it printed.
    fn call(&self, words: &[&str]) -> Result<(f64, String)> {
        self.engine.call(self.common, words)
    }

    /// The same, and notes the seconds.
    fn time(&mut self, row: &str, words: &[&str]) -> Result<String> {
        let (seconds, printed) = self.call(words)?;
        self.note(row, seconds);
        Ok(printed)
    }
}

/// Does a section; none if there was only a list wanted.
pub(super) fn run(
    options: &Options,
    common: Common<'_>,
    silence: &mut Silence,
) -> Result<Option<(Vec<Entrant>, Vec<Row>)>> {
    let mut works = match options.section {
        Section::Startup => startup::all(),
        Section::Images => images::all(),
        Section::Packing | Section::Unions => packing::all(),
    };
    if let Some(only) = &options.only {
        let row = |work: &Work| work.rows.iter().any(|row| only.is_match(&row.name));
        works.retain(|work| only.is_match(work.name) || row(work));
    }
    let wanted = |key: &str| {
        let named = &options.contenders;
        let does = works.iter().any(|work| work.by.contains(&key));
        does && (named.is_empty() || named.iter().any(|name| key.starts_with(name.as_str())))
    };
    if options.list {
        for work in &works {
            println!("{:16} {}", work.name, work.by.join(", "));
        }
        return Ok(None);
    }
    let place = place::Place::make(options.section, common, &wanted)?;
    for work in &mut works {
        for round in 0..common.scale.rounds {
            silence.keep(common.guard)?;
            let engines = place.engines.iter();
            let mut order: Vec<_> = engines.filter(|e| work.by.contains(&e.key)).collect();
            if !order.is_empty() {
                let first = round % order.len();
                order.rotate_left(first);
            }
            for engine in order {
                eprintln!(
                    "compare: {}: round {}, {}",
                    work.name,
                    round + 1,
                    engine.key
                );
                turn(work, engine, common)?;
            }
        }
    }
    let entrants = place.engines.iter().map(Engine::entrant).collect();
    let rows = works.into_iter().flat_map(|work| work.rows).collect();
    Ok(Some((entrants, rows)))
}

/// One engine, once; what fails is noted.
fn turn(work: &mut Work, engine: &Engine, common: Common<'_>) -> Result<()> {
    common.guard.begin(common.scale.limit * 3);
    let mut turn = Turn {
        engine,
        common,
        rows: &mut work.rows,
    };
    let done = (work.body)(&mut turn);
    let too_long = common.guard.end();
    engine.clear(common);
    common.guard.check()?;
    let failure = match done {
        _ if too_long => Error::TooLong(common.scale.limit.as_secs() * 3),
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    eprintln!("compare: {}, {}: {failure}", work.name, engine.key);
    for row in &mut work.rows {
        if !row.samples.contains_key(engine.key) {
            let failed = row.failed.entry(engine.key.to_owned());
            failed.or_insert_with(|| failure.to_string());
        }
    }
    Ok(())
}
