//! Programs, which call the stacks.

use alloc::string::String;
use core::any::Any;
use core::marker::PhantomData;

use crate::stack::Stack;
use crate::time::Instant;

/// A program on a host. It is called once at the start, when its stack has an event, and at the
/// times that it asks for. A closure `FnMut(&mut OnHost) -> Next` is a program, too.
///
/// Events are edge-triggered, so a program must do all that it can until a call returns
/// [`WouldBlock`](crate::Error::WouldBlock).
pub trait Program: Any {
    /// Does what is possible now.
    fn step(&mut self, host: &mut OnHost<'_>) -> Next;
}

impl<F: FnMut(&mut OnHost<'_>) -> Next + 'static> Program for F {
    fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        self(host)
    }
}

/// The host that a program runs on.
#[derive(Debug)]
pub struct OnHost<'a> {
    /// The time.
    pub now: Instant,
    /// The host's stack.
    pub stack: &'a mut Stack,
    pub(super) failure: &'a mut Option<String>,
}

impl OnHost<'_> {
    /// Reports an error, which ends the run. Only the first error is kept.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failure.get_or_insert_with(|| what.into());
    }
}

/// When a program is called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// When its stack has an event.
    Event,
    /// At this time, or when its stack has an event.
    At(Instant),
    /// Never.
    Done,
}

impl Next {
    /// The earlier of the two.
    pub fn or(self, other: Next) -> Next {
        match (self, other) {
            (Next::At(one), Next::At(other)) => Next::At(one.min(other)),
            (Next::At(at), _) | (_, Next::At(at)) => Next::At(at),
            (Next::Event, _) | (_, Next::Event) => Next::Event,
            (Next::Done, Next::Done) => Next::Done,
        }
    }
}

/// Identifies a program of type `P` on a network.
pub struct ProgramId<P> {
    pub(super) index: usize,
    program: PhantomData<fn() -> P>,
}

impl<P> ProgramId<P> {
    pub(super) fn new(index: usize) -> Self {
        ProgramId { index, program: PhantomData }
    }
}

impl<P> Clone for ProgramId<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for ProgramId<P> {}

impl<P> core::fmt::Debug for ProgramId<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ProgramId({})", self.index)
    }
}
