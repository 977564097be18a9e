//! Keyed hash tables. Remote hosts choose the keys of entries, so an unkeyed hash would allow
//! attacks.

use core::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

use crate::rng::Rng;

/// A hash table whose order and collisions cannot be predicted by remote hosts.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, Keyed>;

/// An empty table with its own key.
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

    /// The hash of some words. It equals the hash of their little-endian bytes, but takes half the
    /// time; each segment needs one.
    pub(crate) fn hash_words<const N: usize>(&self, words: [u64; N]) -> u64 {
        // SipHash-1-3: the initial constants spell "somepseudorandomlygeneratedbytes"; one round
        // for each word, three at the end.
        let mut state = [
            self.key.0 ^ 0x736f_6d65_7073_6575,
            self.key.1 ^ 0x646f_7261_6e64_6f6d,
            self.key.0 ^ 0x6c79_6765_6e65_7261,
            self.key.1 ^ 0x7465_6462_7974_6573,
        ];
        // The last word holds the remaining bytes (there are none) and the length.
        for word in words.into_iter().chain([(N as u64 * 8) << 56]) {
            state[3] ^= word;
            sip_round(&mut state);
            state[0] ^= word;
        }
        state[2] ^= 0xff;
        for _ in 0..3 {
            sip_round(&mut state);
        }
        state.into_iter().fold(0, |hash, word| hash ^ word)
    }

    /// A hasher with a key that others have, too.
    pub(crate) fn from_key(key: [u8; 16]) -> Self {
        Keyed { key: SipHasher13::new_with_key(&key).keys() }
    }

    /// The bytes of the key, for another hash function of the same family.
    pub(crate) fn to_key(&self) -> [u8; 16] {
        (u128::from(self.key.1) << 64 | u128::from(self.key.0)).to_le_bytes()
    }

    /// Another key, which is the same for the same label.
    pub(crate) fn derive(&self, label: u64) -> Self {
        Keyed { key: (self.hash_words([label, 0]), self.hash_words([label, 1])) }
    }

    /// The hash of some bytes under this key.
    pub(crate) fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

fn sip_round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v2 = v2.wrapping_add(*v3);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.rotate_left(32).wrapping_add(*v3);
    *v2 = v2.wrapping_add(*v1);
    *v3 = v3.rotate_left(21) ^ *v0;
    *v1 = v1.rotate_left(17) ^ *v2;
    *v2 = v2.rotate_left(32);
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.key.0, self.key.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn words_hash_as_their_bytes() {
        let mut rng = Rng::new([3; 32]);
        for _ in 0..100 {
            let key = Keyed::new(&mut rng);
            let words =
                [rng.next_u32(), rng.next_u32(), rng.next_u32()].map(|word| u64::from(word) << 21 | 5);
            let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
            assert_eq!(key.hash_words(words), key.hash_bytes(&bytes(&words)));
            assert_eq!(key.hash_words([words[0]]), key.hash_bytes(&bytes(&words[..1])));
            assert_eq!(key.hash_words([]), key.hash_bytes(&[]));
        }
    }
}
