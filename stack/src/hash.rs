//! Keyed hash tables: remote hosts choose the keys that go into them, so an unkeyed hash is an attack.

use core::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

use crate::rng::Rng;

/// A hash table whose order and collisions no remote host can foretell.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, Keyed>;

/// An empty table with a key of its own.
pub(crate) fn hash_map<K, V>(rng: &mut Rng) -> HashMap<K, V> {
    HashMap::with_hasher(Keyed::new(rng))
}

/// Builds SipHash-1-3 hashers under one secret key.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    key: (u64, u64),
}

impl Keyed {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Keyed { key: SipHasher13::new_with_key(&rng.key()).keys() }
    }

    /// The hash of some bytes under this key.
    pub(crate) fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.key.0, self.key.1)
    }
}
