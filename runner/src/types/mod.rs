//! Small values that every floor may use.

mod finding;
mod hex;
mod moment;
mod piece;

pub use finding::{Finding, Mend};
pub use hex::hex;
pub use moment::{Moment, parse_duration};
pub use piece::Piece;
