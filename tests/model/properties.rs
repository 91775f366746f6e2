//! For every story, all answer alike.

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use tests::sequences::World;

use crate::against::{Against, tell};
use crate::story::Stories;

const LENGTH: usize = 40;

/// Steps of one property in the short form.
const STEPS: usize = 1200;

fn steps() -> usize {
    let given = std::env::var("LAYERFS_MODEL_STEPS").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(STEPS)
}

/// `counted`: see [`tell`].
#[track_caller]
fn hold(stories: Stories, against: Against, counted: bool) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/model/failures.txt");
    let mut runner = TestRunner::new(Config {
        cases: steps().div_ceil(stories.length) as u32,
        max_shrink_iters: 2000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..Config::default()
    });
    let result = runner.run(&stories, |story| {
        tell(&story, against, counted).map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn over(lowers: usize) -> World {
    World {
        hard_links: false,
        whiteouts: true,
        lowers,
    }
}

#[test]
fn model_plain_tree_and_union_answer_alike() {
    let stories = Stories {
        world: over(2),
        rotates: false,
        length: LENGTH,
    };
    hold(stories, Against::Layerfs, true);
}

#[test]
fn they_answer_alike_where_layers_have_hard_links() {
    let world = World {
        hard_links: true,
        whiteouts: false,
        lowers: 1,
    };
    let stories = Stories {
        world,
        rotates: false,
        length: LENGTH,
    };
    hold(stories, Against::Layerfs, true);
}

#[test]
fn they_answer_alike_when_uppers_become_lowers() {
    let stories = Stories {
        world: over(3),
        rotates: true,
        length: 2 * LENGTH,
    };
    hold(stories, Against::Layerfs, false);
}
