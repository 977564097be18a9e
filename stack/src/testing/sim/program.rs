//! Programs: what calls the stacks.

use alloc::string::String;
use core::any::Any;
use core::marker::PhantomData;

use crate::stack::Stack;
use crate::time::Instant;

/// A program on a host. It is called when its stack has an event, at the times that it asks for,
/// and once at the start. A closure `FnMut(&mut OnHost) -> Next` is one.
///
/// Events are edges, so a program does all that it can until it is told
/// [`WouldBlock`](crate::Error::WouldBlock).
pub trait Program: Any {
    /// Does what can be done now.
    fn step(&mut self, host: &mut OnHost<'_>) -> Next;
}

impl<F: FnMut(&mut OnHost<'_>) -> Next + 'static> Program for F {
    fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        self(host)
    }
}

/// Where a program runs.
#[derive(Debug)]
pub struct OnHost<'a> {
    /// The time.
    pub now: Instant,
    /// The host's stack.
    pub stack: &'a mut Stack,
    pub(super) failure: &'a mut Option<String>,
}

impl OnHost<'_> {
    /// Says that something went wrong that must not: it ends the run. The first such is kept.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failure.get_or_insert_with(|| what.into());
    }
}

/// When a program wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// When its stack has an event.
    Event,
    /// Then too.
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

/// Finds a program of type `P` again.
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
