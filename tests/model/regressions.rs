//! Stories that once failed, shrunk.

use tests::layers::Layer;
use tests::operations::Op;

use crate::against::{Against, tell};
use crate::story::{Step, Story};

#[track_caller]
fn holds(layers: Vec<Layer>, steps: Vec<Step>) {
    if let Err(why) = tell(&Story { layers, steps }, Against::Layerfs, true) {
        panic!("{why}");
    }
}

/// It was ENODATA.
#[test]
fn a3_an_acl_that_is_not_there_can_be_removed() {
    holds(
        vec![Layer::new().file("file", "").dir("dir").fifo("fifo")],
        ["access", "default"]
            .iter()
            .flat_map(|acl| {
                ["file", "dir", "fifo"].map(|path| {
                    Step::Do(Op::RemoveXattr(
                        path.into(),
                        format!("system.posix_acl_{acl}"),
                    ))
                })
            })
            .collect(),
    );
}
