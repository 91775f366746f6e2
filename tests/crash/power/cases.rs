//! Sequences of which one failed once.

use tests::sys::Cut;

use super::disk::Kind;
use super::steps::Step;
use super::{Place, assert_none};

/// The upper's form was written without a sync: after a power cut the file was there and empty, and no mount
/// would take the upper any more.
#[test]
fn f2_power_cut_right_after_the_first_mount() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        if kind.is_there() {
            let mut place = Place::new(kind, 1);
            let none: Vec<Step> = Vec::new();
            assert_none(&place.turn(&[none], Cut::JournalWritten));
        }
    }
}
