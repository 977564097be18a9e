//! Copy-on-write values: holders share one copy until one of them writes to it.

use alloc::sync::Arc;
use core::mem::size_of;
use core::ops::{Deref, DerefMut};

/// A reference-counted value that is copied when it is written to, unless there is no other holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyOnWrite<T>(Arc<T>);

impl<T> CopyOnWrite<T> {
    /// The bytes that count for this holder: none while others hold the value, too.
    pub(crate) fn own_bytes(&self) -> usize {
        if Arc::strong_count(&self.0) > 1 { 0 } else { size_of::<T>() + 2 * size_of::<usize>() }
    }
}

impl<T> From<T> for CopyOnWrite<T> {
    fn from(value: T) -> Self {
        CopyOnWrite(Arc::new(value))
    }
}

impl<T> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_seen_by_its_writer_only() {
        let mut one = CopyOnWrite::from([1, 2, 3]);
        assert!(one.own_bytes() > 0);
        let mut other = one.clone();
        assert_eq!(one.own_bytes(), 0);
        other[0] = 9;
        assert_eq!((one[0], other[0]), (1, 9));
        let place = &raw const *one;
        one[1] = 8;
        assert_eq!(place, &raw const *one, "it was its own by then");
    }
}
