//! Small values that every floor may use.

mod moment;
mod piece;

pub use moment::{Moment, parse_duration};
pub use piece::Piece;
