//! The two families of IP.

use portolan::Domain;

/// `v4` for IPv4, `v6` for IPv6.
///
/// # Panics
///
/// For another domain: these tests are about IP.
pub fn by_family<T>(domain: Domain, v4: T, v6: T) -> T {
    match domain {
        Domain::V4 => v4,
        Domain::V6 => v6,
        other => panic!("{other:?} is no family of IP"),
    }
}
