//! What a layer says of one path.

/// How a path goes into a layer that is made of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The object there, a directory without what is in it.
    Object,
    /// A new directory, without what is in it: nothing of the layers below shows in it.
    Fresh,
    /// A directory with all that is in it: nothing of the layers below shows in it.
    Tree,
    /// Nothing: the path is gone.
    Gone,
}
