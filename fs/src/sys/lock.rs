//! The locks of nodes, tables and caches: parking_lot's; under the feature `shuttle` the same with a
//! scheduler below them that tries one order of threads after the other (`ops/tests/models.rs`).

#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
#[cfg(feature = "shuttle")]
pub use shuttle_parking_lot::{Mutex, RwLock, RwLockWriteGuard};
