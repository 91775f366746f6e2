//! The rules of the union.
//!
//! ```text
//!   stack     the layers of a mount, opened
//!   lower     what a name means in the stack of layers (R1, R2, R4)
//!   numbers   inode numbers: unique and constant (I1)
//!   copy_up   making the upper's copy of a lower object, in the stage (C1-C3, C6)
//!   birth     giving a new object the mode and the ACLs of its directory (A3, A7)
//!   xattrs    which attribute names are the user's, and how ours are escaped (R5)
//! ```
//!
//! No state and no locks: `ops` holds those. I/O is done by `layer` and `upper`.

pub mod birth;
pub mod copy_up;
pub mod lower;
pub mod numbers;
pub mod stack;
pub mod xattrs;
