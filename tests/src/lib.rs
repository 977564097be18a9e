//! Whole-system tests: helpers that the tests in `tests/` share.
