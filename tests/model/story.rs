//! A story: layers, and steps over them. It is made step by step, the model telling what is there by
//! then, so that most operations meet something; and it shrinks by leaving out steps, then objects of
//! layers.

use proptest::prelude::Rng;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tests::layers::Layer;
use tests::model::Model;
use tests::operations::Op;
use tests::sequences::{Random, World, any_operation, layers};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Do(Op),
    /// Unmounts and mounts again.
    Remount,
    /// The upper becomes the topmost lower; mounts over it with an empty one.
    Rotate,
}

/// Layers, topmost first, and what is done.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) layers: Vec<Layer>,
    pub(crate) steps: Vec<Step>,
}

/// Makes stories.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stories {
    pub(crate) world: World,
    pub(crate) rotates: bool,
    pub(crate) length: usize,
}

impl Strategy for Stories {
    type Tree = Shrinking;
    type Value = Story;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut random = Random::new(runner.rng().next_u64());
        let layers = layers(&mut random, self.world);
        let mut model = Model::new(&layers);
        let mut steps = Vec::new();
        while steps.len() < self.length {
            let step = match random.below(100) {
                0..2 => Step::Remount,
                2..4 if self.rotates => Step::Rotate,
                _ => Step::Do(any_operation(&mut random, &model.paths().unwrap())),
            };
            if let Step::Do(op) = &step {
                let _ = model.apply(op);
            }
            steps.push(step);
        }
        Ok(Shrinking::new(Story { layers, steps }))
    }
}

/// What is left of a story, and what was tried last.
#[derive(Debug)]
pub(crate) struct Shrinking {
    now: Story,
    before: Option<Story>,
    /// How many steps are left out at once; 0: objects of layers are.
    run: usize,
    /// Where the next try begins.
    at: usize,
}

impl Shrinking {
    fn new(story: Story) -> Self {
        Self {
            run: story.steps.len().div_ceil(2),
            now: story,
            before: None,
            at: 0,
        }
    }

    fn next_try(&mut self) -> Option<Story> {
        let mut story = self.now.clone();
        while self.run > 0 {
            if self.at < story.steps.len() {
                let end = (self.at + self.run).min(story.steps.len());
                story.steps.drain(self.at..end);
                return Some(story);
            }
            (self.run, self.at) = (self.run / 2, 0);
        }
        let mut n = self.at;
        for layer in &mut story.layers {
            if n < layer.len() {
                *layer = layer.without(n);
                return Some(story);
            }
            n -= layer.len();
        }
        None
    }
}

impl ValueTree for Shrinking {
    type Value = Story;

    fn current(&self) -> Story {
        self.now.clone()
    }

    fn simplify(&mut self) -> bool {
        let Some(less) = self.next_try() else {
            return false;
        };
        self.before = Some(std::mem::replace(&mut self.now, less));
        true
    }

    /// What was left out last was needed.
    fn complicate(&mut self) -> bool {
        let Some(before) = self.before.take() else {
            return false;
        };
        self.now = before;
        self.at += self.run.max(1);
        // The story as it is now fails: proptest goes on to simplify it.
        true
    }
}

#[test]
fn shrinking_keeps_what_fails() {
    let unlink = |name: &str| Step::Do(Op::Unlink(name.into()));
    let story = Story {
        layers: vec![Layer::new().file("a", "").dir("d").file("d/b", "")],
        steps: ["a", "b", "c", "d", "e", "f", "g"].map(unlink).to_vec(),
    };
    let needed = [unlink("b"), unlink("f")];
    let fails = |s: &Story| needed.iter().all(|n| s.steps.contains(n)) && s.layers[0].len() > 1;
    let mut tree = Shrinking::new(story);
    while tree.simplify() {
        while !fails(&tree.current()) && tree.complicate() {}
    }
    let last = tree.current();
    assert_eq!((last.steps, last.layers[0].len()), (needed.to_vec(), 2));
}
