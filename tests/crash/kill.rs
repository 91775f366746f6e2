//! F2: kill -9 after each system call that changes the disk; the next mount shows the tree before or
//! after the operation that was under way, and the sequence goes on from there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tests::mounts::Mount;
use tests::operations::{Op, apply};
use tests::traced::Traced;
use tests::tracer::{Counted, Fault, Plan};

use crate::history::tree;
use crate::scenarios::{Scenario, scenario};
use crate::stage::{Stage, numbers};
use crate::{assert_none, brief, places};

/// How many places of each scenario the short form tries.
const SHORT: usize = 10;

fn kill_after(n: usize) -> Plan {
    Plan {
        counted: Counted::Changes,
        strike: Some((n, Fault::Kill)),
    }
}

/// The sequence undisturbed: how many changes it makes, and the inode numbers after each operation.
fn undisturbed(stage: &Stage, scenario: &Scenario) -> (usize, Vec<BTreeMap<PathBuf, u64>>) {
    stage.renew();
    let traced = Traced::mount(&stage.union, None).unwrap();
    let mut all = vec![numbers(traced.path())];
    traced.tracer.arm(Plan {
        counted: Counted::Changes,
        strike: None,
    });
    for (op, wanted) in scenario.ops.iter().zip(&stage.history.answers) {
        assert_eq!(apply(traced.path(), op), *wanted, "{op:?}");
        all.push(numbers(traced.path()));
    }
    let calls = traced.tracer.disarm();
    let last = &stage.history.trees[scenario.ops.len()];
    last.assert_same(&tree(traced.path()), "undisturbed");
    assert_eq!(traced.unmount(), 0);
    (calls.len(), all)
}

/// Kills the daemon after the n-th change of the sequence; gives the call, and the number of the
/// operation that was under way.
fn kill(stage: &Stage, ops: &[Op], n: usize) -> Result<(String, usize), String> {
    stage.renew();
    let traced = Traced::mount(&stage.union, None).unwrap();
    traced.tracer.arm(kill_after(n));
    let answers = &stage.history.answers;
    let mut at = 0;
    while at < ops.len() && apply(traced.path(), &ops[at]) == answers[at] {
        at += 1;
    }
    // Some calls are made by the clock: they may not come before the end.
    let end = || (at == ops.len()).then(|| "the last operation".to_owned());
    let Some(call) = traced.tracer.struck().or_else(end) else {
        return Err(format!("{} gave another answer", brief(&ops[at])));
    };
    traced.kill();
    Ok((call, at))
}

/// Looks at a mount after a crash, and goes on with the sequence to its end.
fn go_on(
    stage: &Stage,
    ops: &[Op],
    numbers_then: &[BTreeMap<PathBuf, u64>],
    at: usize,
    mount: Mount,
) -> Result<(), String> {
    stage.nothing_is_left()?;
    let history = &stage.history;
    let mut at = history.where_is(at, mount.path())?;
    let now = numbers(mount.path());
    if now != numbers_then[at] {
        let then = &numbers_then[at];
        return Err(format!("I1: inode numbers {now:x?} instead of {then:x?}"));
    }
    while at < ops.len() {
        let (found, wanted) = (apply(mount.path(), &ops[at]), &history.answers[at]);
        if found != *wanted {
            let op = brief(&ops[at]);
            return Err(format!(
                "going on, {op} gave {found:?} instead of {wanted:?}"
            ));
        }
        at += 1;
    }
    let diff = history.trees[at].diff(&tree(mount.path()));
    if !diff.is_empty() {
        return Err(format!("gone on to the end (- wanted, + found):\n{diff}"));
    }
    mount.unmount();
    Ok(())
}

#[track_caller]
fn sweep(name: &str) {
    let scenario = scenario(name);
    let stage = Stage::new(&scenario);
    let (changes, numbers) = undisturbed(&stage, &scenario);
    let mut faults = Vec::new();
    for n in places(changes, SHORT) {
        let turn = kill(&stage, &scenario.ops, n).and_then(|(call, at)| {
            let told = |what| {
                let op = scenario.ops.get(at).map(brief).unwrap_or_default();
                format!("killed after {call}, in operation {at}, {op}: {what}")
            };
            go_on(&stage, &scenario.ops, &numbers, at, stage.union.layerfs()).map_err(told)
        });
        faults.extend(
            turn.err()
                .map(|what| format!("change {n} of {changes}: {what}")),
        );
    }
    assert_none(&faults);
}

macro_rules! sweeps {
    ($($test:ident $name:literal)*) => {
        $(#[test] fn $test() { sweep($name); })*

        #[test]
        fn every_scenario_is_swept() {
            let names: Vec<_> = crate::scenarios::scenarios().iter().map(|s| s.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

sweeps! {
    f2_killed_while_creating "create"
    f2_killed_while_creating_over_whiteouts "create_over_whiteouts"
    f2_killed_while_removing "remove"
    f2_killed_while_removing_hard_links "remove_hard_links"
    f2_killed_while_renaming_files "rename_files"
    f2_killed_while_renaming_directories "rename_directories"
    f2_killed_while_exchanging "exchange"
    f2_killed_while_linking "link"
    f2_killed_while_copying_up_files "copy_up_files"
    f2_killed_while_copying_up_metadata "copy_up_metadata_only"
    f2_killed_while_copying_up_hard_links "copy_up_hard_links"
    f2_killed_while_copying_up_others "copy_up_others"
    f2_killed_while_changing_indexed_files "indexed"
}

/// Kills a mount in the making after each change it makes, over an upper that `prepare` left.
#[track_caller]
fn sweep_mounting(prepare: impl Fn(&Stage, &[Op]), at: usize) {
    let scenario = scenario("copy_up_files");
    let stage = Stage::new(&scenario);
    let (_, numbers) = undisturbed(&stage, &scenario);
    let mut faults = Vec::new();
    for n in 1.. {
        stage.renew();
        prepare(&stage, &scenario.ops);
        let call = match Traced::mount(&stage.union, Some(kill_after(n))) {
            Ok(traced) => {
                // It serves: the end of the sweep, unless the call comes after the handshake.
                let Some(call) = traced.tracer.struck() else {
                    traced.unmount();
                    assert!(n > 3, "a mount makes more changes than {n}");
                    break;
                };
                traced.kill();
                call
            }
            Err((code, said)) => {
                assert_eq!(code, 128 + libc::SIGKILL, "{said}");
                format!("call {n}")
            }
        };
        let turn = go_on(&stage, &scenario.ops, &numbers, at, stage.union.layerfs());
        faults.extend(
            turn.err()
                .map(|what| format!("killed after {call}: {what}")),
        );
    }
    assert_none(&faults);
}

#[test]
fn f2_killed_while_mounting() {
    sweep_mounting(|_, _| {}, 0);
}

#[test]
fn f2_killed_while_mounting_after_a_kill() {
    let ended_in = 8;
    let prepare = |stage: &Stage, ops: &[Op]| {
        let traced = Traced::mount(&stage.union, None).unwrap();
        for op in &ops[..ended_in] {
            apply(traced.path(), op);
        }
        // In the middle of a copy-up: something lies in the stage.
        traced.tracer.arm(kill_after(3));
        apply(traced.path(), &ops[ended_in]);
        traced.kill();
    };
    sweep_mounting(prepare, ended_in);
}

#[test]
fn f2_killed_while_unmounting() {
    let scenario = scenario("copy_up_files");
    let stage = Stage::new(&scenario);
    let (_, numbers) = undisturbed(&stage, &scenario);
    let mut faults = Vec::new();
    for n in 1.. {
        stage.renew();
        let traced = Traced::mount(&stage.union, None).unwrap();
        for op in &scenario.ops {
            apply(traced.path(), op);
        }
        traced.tracer.arm(kill_after(n));
        if traced.unmount() == 0 {
            assert!(n > 3, "an unmount makes more changes than {n}");
            break;
        }
        let end = scenario.ops.len();
        let turn = go_on(&stage, &scenario.ops, &numbers, end, stage.union.layerfs());
        faults.extend(turn.err().map(|what| format!("change {n}: {what}")));
    }
    assert_none(&faults);
}
