//! Who does what when.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::bench::{Bench, Common};
use super::contender::{self, Contender};
use super::error::{Error, Result};
use super::fixture::{Fixture, Part};
use super::guard::Guard;
use super::machine::Machine;
use super::options::{Options, Section};
use super::samples::{Entrant, Run};
use super::scale::Scale;
use super::scenario::{Layers, Scenario};
use super::scratch::Scratch;
use super::silence::Silence;
use super::{engines, install, report, work};
use crate::programs;

/// Does what the command line says.
///
/// # Errors
/// If something is missing, the disk fails, or the user interrupts; not if a contender fails.
pub(super) fn run(options: &Options) -> Result<()> {
    if let Some(kept) = &options.render {
        return report::render(kept);
    }
    if !rustix::process::geteuid().is_root() {
        let message = "needs root: it mounts file systems and drops caches; use sudo";
        return Err(Error::Wrong(message.to_owned()));
    }
    if options.install {
        install::install()?;
    }
    let guard = Guard::start()?;
    if options.section != Section::Unions {
        return engines(options, &guard);
    }
    let contenders = contender::chosen(&options.contenders)?;
    let scenarios = chosen_scenarios(options)?;
    if options.trace {
        install::check("strace")?;
    }
    if options.list {
        list(&contenders, &scenarios);
        return Ok(());
    }
    let scale = scale(options);
    let scratch = Scratch::new(&options.scratch)?;
    let machine = Machine::look(scratch.path())?;
    let out = out(options, &machine);
    let mut turns = Turns {
        silence: Silence::new(&options.lock)?,
        trace: options.trace,
        progress: progress(scenarios.len() * scale.rounds * contenders.len()),
        contenders,
        scale,
        scratch,
        guard,
    };
    let rows = turns.all(scenarios)?;
    if options.trace {
        return Ok(());
    }
    let entrant = |contender: &Contender| Entrant {
        key: contender.key.clone(),
        title: contender.title.clone(),
        version: contender.version.clone(),
        how: contender.how(),
        ours: contender.ours(),
    };
    let run = Run {
        machine,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        rounds: turns.scale.rounds,
        short: options.short,
        contenders: turns.contenders.iter().map(entrant).collect(),
        rows,
    };
    report::write(&run, &out)
}

fn scale(options: &Options) -> Scale {
    let mut scale = if options.short {
        Scale::short()
    } else {
        Scale::long()
    };
    scale.rounds = options.rounds.map_or(scale.rounds, usize::from);
    scale
}

/// A section in which no union is mounted by us.
fn engines(options: &Options, guard: &Guard) -> Result<()> {
    let (scale, scratch) = (scale(options), Scratch::new(&options.scratch)?);
    let mut silence = Silence::new(&options.lock)?;
    let machine = Machine::look(scratch.path())?;
    let mut out = out(options, &machine);
    if options.out.is_none() {
        let name = format!("{:?}", options.section).to_lowercase();
        out.as_mut_os_string().push(format!("-{name}"));
    }
    let common = Common {
        scale: &scale,
        scratch: &scratch,
        guard,
        trace: false,
    };
    let Some((contenders, rows)) = engines::run(options, common, &mut silence)? else {
        return Ok(());
    };
    let run = Run {
        machine,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        rounds: scale.rounds,
        short: options.short,
        contenders,
        rows,
    };
    report::write(&run, &out)
}

fn chosen_scenarios(options: &Options) -> Result<Vec<Scenario>> {
    let mut all = work::all();
    if let Some(only) = &options.only {
        let row = |scenario: &Scenario| scenario.rows.iter().any(|row| only.is_match(&row.name));
        all.retain(|scenario| only.is_match(&scenario.name) || row(scenario));
    }
    if all.is_empty() {
        return Err(Error::Wrong(
            "no work has such a name: see --list".to_owned(),
        ));
    }
    for program in all.iter().filter_map(|scenario| scenario.needs) {
        install::check(program)?;
    }
    Ok(all)
}

fn list(contenders: &[Contender], scenarios: &[Scenario]) {
    for contender in contenders {
        println!("{:24} {}", contender.key, contender.how());
    }
    println!();
    for scenario in scenarios {
        let rows: Vec<_> = scenario.rows.iter().map(|row| row.name.as_str()).collect();
        println!("{:16} {}", scenario.name, rows.join("; "));
    }
}

fn out(options: &Options, machine: &Machine) -> PathBuf {
    let part = options.short || options.only.is_some() || !options.contenders.is_empty();
    match &options.out {
        Some(out) => out.clone(),
        None if part => programs::workspace().join("target/compare"),
        None => programs::workspace()
            .join("benches/runs")
            .join(format!("{}-{}", machine.date, machine.host)),
    }
}

fn progress(turns: usize) -> ProgressBar {
    let bar = ProgressBar::new(turns as u64);
    let template = "{bar:30} {pos}/{len} {elapsed_precise} {msg}";
    // The default style does as well.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

struct Turns {
    contenders: Vec<Contender>,
    scale: Scale,
    silence: Silence,
    trace: bool,
    progress: ProgressBar,
    guard: Guard,
    /// Last, so that everything that is mounted in it is gone before it goes.
    scratch: Scratch,
}

impl Turns {
    fn all(&mut self, scenarios: Vec<Scenario>) -> Result<Vec<super::samples::Row>> {
        let with_copy = self.contenders.iter().any(Contender::is_copy);
        let on_root = |s: &&Scenario| s.layers == Layers::Root;
        let roots = scenarios.iter().filter(on_root);
        let parts: BTreeSet<Part> = roots.flat_map(|s| s.parts.clone()).collect();
        self.progress.set_message("making the layers");
        let root = Fixture::build(&self.scratch, &parts, &self.scale, with_copy)?;
        let mut rows = Vec::new();
        for mut scenario in scenarios {
            let started = Instant::now();
            let stack;
            let fixture = match scenario.layers {
                Layers::Root => &root,
                Layers::Stack(count) => {
                    let files = self.scale.stack_files;
                    stack = Fixture::stack(&self.scratch, count, files, with_copy)?;
                    &stack
                }
            };
            self.rounds(&mut scenario, fixture)?;
            if !io::stderr().is_terminal() {
                eprintln!(
                    "compare: {} ({} s)",
                    scenario.name,
                    started.elapsed().as_secs()
                );
            }
            rows.append(&mut scenario.rows);
        }
        self.progress.finish_and_clear();
        Ok(rows)
    }

    /// One work, all rounds, all contenders.
    fn rounds(&mut self, scenario: &mut Scenario, fixture: &Fixture) -> Result<()> {
        let mut given_up = BTreeSet::new();
        for round in 0..self.scale.rounds {
            if self.silence.is_over() {
                let now = format!("{}: waits for the locks", scenario.name);
                self.progress.set_message(now);
                self.silence.keep(&self.guard)?;
            }
            let mut order: Vec<_> = self.contenders.iter().collect();
            let first = round % order.len();
            order.rotate_left(first);
            for contender in order {
                let now = format!(
                    "{}: round {}, {}",
                    scenario.name,
                    round + 1,
                    contender.title
                );
                self.progress.set_message(now);
                if !given_up.contains(&contender.key) && !self.turn(scenario, fixture, contender)? {
                    given_up.insert(contender.key.clone());
                }
                self.progress.inc(1);
            }
        }
        Ok(())
    }

    /// One contender, once; false if it took too long.
    fn turn(
        &self,
        scenario: &mut Scenario,
        fixture: &Fixture,
        contender: &Contender,
    ) -> Result<bool> {
        self.guard.begin(self.scale.limit);
        let common = Common {
            scale: &self.scale,
            scratch: &self.scratch,
            guard: &self.guard,
            trace: self.trace,
        };
        let mut bench = Bench::new(contender, fixture, common, &mut scenario.rows);
        let done = (scenario.body)(&mut bench);
        drop(bench);
        let too_long = self.guard.end();
        if contender.is_copy() {
            fixture.mend(&scenario.changes)?;
        }
        self.guard.check()?;
        let failure = match done {
            _ if too_long => Error::TooLong(self.scale.limit.as_secs()),
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        for row in &mut scenario.rows {
            if !row.samples.contains_key(&contender.key) || too_long {
                let failed = row.failed.entry(contender.key.clone());
                failed.or_insert_with(|| failure.to_string());
            }
        }
        Ok(!too_long)
    }
}
