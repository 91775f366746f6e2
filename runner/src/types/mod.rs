//! Small values that every floor may use.

mod moment;

pub use moment::{Moment, parse_duration};
