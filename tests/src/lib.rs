//! What the whole-system tests share.

pub mod namespace;
pub mod packet_socket;
pub mod pattern;
pub mod sources;
pub mod transcript;

/// The code in the README is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
