//! Short programs that a reader copies from: see the files beside this one.
