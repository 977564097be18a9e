//! [`Share`]: the connections that one service may have open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Service;

/// The open connections of a service, and how many it may have. The services have a share each, so
/// that clients of one cannot shut out those of another.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) service: Service,
    limit: usize,
    open: AtomicUsize,
    refused: AtomicUsize,
}

/// The figures of a [`Share`] at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) service: Service,
    /// Connections that are open.
    pub(crate) open: usize,
    /// The most that may be open.
    pub(crate) limit: usize,
    /// Connections that were refused because `limit` were open.
    pub(crate) refused: usize,
}

/// The place of one connection. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Place(Arc<Share>);

impl Share {
    pub(crate) fn new(service: Service, limit: usize) -> Arc<Share> {
        Arc::new(Share { service, limit, open: AtomicUsize::new(0), refused: AtomicUsize::new(0) })
    }

    /// Returns a place for another connection. If there is none, counts a refusal and returns the
    /// figures.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Place, Shared> {
        let place = Place(self.clone());
        if self.open.fetch_add(1, Ordering::Relaxed) < self.limit {
            return Ok(place);
        }
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        Err(Shared { refused, ..self.figures() })
    }

    pub(crate) fn figures(&self) -> Shared {
        Shared {
            service: self.service,
            open: self.open.load(Ordering::Relaxed).min(self.limit),
            limit: self.limit,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Place {
    pub(crate) fn service(&self) -> Service {
        self.0.service
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_as_many_places_as_its_limit_and_counts_refusals() {
        let share = Share::new(Service::Echo, 2);
        let first = share.take().expect("a place");
        let _second = share.take().expect("a place");
        let refused = || share.take().err().map(|shared| shared.refused);
        assert_eq!((refused(), refused()), (Some(1), Some(2)));
        assert_eq!(share.figures(), Shared { service: Service::Echo, open: 2, limit: 2, refused: 2 });
        drop(first);
        assert_eq!(share.figures().open, 1);
        let third = share.take().expect("a place");
        assert_eq!((third.service(), refused()), (Service::Echo, Some(3)));
    }
}
