//! F2, D7: the file system below fails, once, at each system call that asks or changes it. The operation
//! says so or gets along; the tree is that of before it or after it; the mount lives on, goes through the
//! rest of the sequence, and leaves an upper in which nothing is broken.

use std::path::Path;

use nix::errno::Errno;
use tests::operations::{Op, apply};
use tests::traced::Traced;
use tests::tracer::{Counted, Fault, Plan};

use crate::history::tree;
use crate::scenarios::{Scenario, scenario};
use crate::stage::{Stage, is_sound, numbers};
use crate::{assert_none, brief, places};

/// How many places of each scenario the short form tries, by fault.
const SHORT: usize = 4;

/// What may befall a call: which calls count, and what is done to one of them.
const FAULTS: [(Counted, Fault); 4] = [
    (Counted::Files, Fault::Error(Errno::EIO)),
    (Counted::Changes, Fault::Error(Errno::EIO)),
    (Counted::Changes, Fault::Error(Errno::ENOSPC)),
    (Counted::Writes, Fault::Short),
];

/// How many calls count in the sequence undisturbed.
fn calls(stage: &Stage, scenario: &Scenario, counted: Counted) -> usize {
    stage.renew();
    let traced = Traced::mount(&stage.union, None).unwrap();
    traced.tracer.arm(Plan {
        counted,
        strike: None,
    });
    for op in &scenario.ops {
        apply(traced.path(), op);
    }
    let calls = traced.tracer.disarm().len();
    assert_eq!(traced.unmount(), 0);
    calls
}

/// Goes through the sequence with a fault at the n-th call.
fn turn(stage: &Stage, ops: &[Op], plan: Plan) -> Result<(), String> {
    stage.renew();
    let traced = Traced::mount(&stage.union, None).unwrap();
    let history = &stage.history;
    traced.tracer.arm(plan);
    let mut at = 0;
    while at < ops.len() {
        let found = apply(traced.path(), &ops[at]);
        if found == history.answers[at] {
            at += 1;
            continue;
        }
        let told = |what: String| {
            let struck = traced.tracer.struck().unwrap_or_default();
            format!("{struck} failed in {}: {what}", brief(&ops[at]))
        };
        if traced.tracer.struck().is_none() {
            return Err(told(format!("{found:?} before any fault")));
        }
        if found.0.is_ok() {
            return Err(told(format!("{found:?} is no error")));
        }
        // Nothing fails any more: once more, unless it was done after all.
        traced.tracer.disarm();
        let here = history.where_is(at, traced.path()).map_err(told)?;
        if here == at {
            let again = apply(traced.path(), &ops[at]);
            if again != history.answers[at] {
                return Err(told(format!("{found:?}, and again {again:?}")));
            }
        }
        at += 1;
    }
    let struck = traced.tracer.struck().unwrap_or_default();
    let told = |what: String| format!("{struck} failed: {what}");
    traced.tracer.disarm();
    let end = &history.trees[ops.len()];
    let same = |root: &Path, when: &str| {
        let diff = end.diff(&tree(root));
        let all = format!("{struck} failed: {when} (- wanted, + found):\n{diff}");
        if diff.is_empty() { Ok(()) } else { Err(all) }
    };
    same(traced.path(), "at the end")?;
    let before = numbers(traced.path());
    let code = traced.unmount();
    if code != 0 {
        return Err(told(format!("the daemon ended with {code}")));
    }
    is_sound(&stage.union).map_err(told)?;
    let mount = stage.union.layerfs();
    same(mount.path(), "after a remount")?;
    let now = numbers(mount.path());
    if now != before {
        return Err(told(format!("I1: {now:x?} instead of {before:x?}")));
    }
    stage.nothing_is_left().map_err(told)?;
    mount.unmount();
    Ok(())
}

#[track_caller]
fn sweep(name: &str) {
    let scenario = scenario(name);
    let stage = Stage::new(&scenario);
    let mut found = Vec::new();
    for (counted, fault) in FAULTS {
        let count = calls(&stage, &scenario, counted);
        for n in places(count, SHORT) {
            let plan = Plan {
                counted,
                strike: Some((n, fault)),
            };
            let place = format!("{fault:?} at call {n} of {count}");
            let turn = turn(&stage, &scenario.ops, plan);
            found.extend(turn.err().map(|what| format!("{place}: {what}")));
        }
    }
    assert_none(&found);
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
    f2_failing_while_creating "create"
    f2_failing_while_creating_over_whiteouts "create_over_whiteouts"
    f2_failing_while_removing "remove"
    f2_failing_while_removing_hard_links "remove_hard_links"
    f2_failing_while_renaming_files "rename_files"
    f2_failing_while_renaming_directories "rename_directories"
    f2_failing_while_exchanging "exchange"
    f2_failing_while_linking "link"
    f2_failing_while_copying_up_files "copy_up_files"
    f2_failing_while_copying_up_metadata "copy_up_metadata_only"
    f2_failing_while_copying_up_hard_links "copy_up_hard_links"
    f2_failing_while_copying_up_others "copy_up_others"
    f2_failing_while_changing_indexed_files "indexed"
}
