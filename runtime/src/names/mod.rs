//! Name resolution without I/O: questions in, datagrams out and in, deadlines.
//!
//! A [`Lookup`](lookup::Lookup) is one name that is being looked up. It sends nothing itself: its
//! driver takes messages from `poll_transmit`, sends each from a socket of its own, so from a fresh
//! random port, and hands in what that socket receives. Time is an argument, and randomness comes
//! from the generator in [`Shared`], which all lookups of a resolver have in common, with the
//! settings, the cache and the counters.
//!
//! In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | `config`, `hosts` | settings and the table of hosts, and the formats of resolv.conf and hosts files |
//! | `message` | encodes questions, and decodes answers as far as a stub resolver needs them |
//! | `cache` | answers by the time that they are valid |
//! | `lookup` | one lookup: names to try, servers, time-outs, aliases, truncation |
//! | `order` | RFC 6724: in which order to try addresses |

pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod hosts;
pub(crate) mod lookup;
mod message;
pub(crate) mod order;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use cache::Cache;
use config::ResolverConfig;

/// The part that all lookups of a resolver have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ResolverConfig,
    pub(crate) cache: Cache,
    pub(crate) stats: ResolverStats,
    /// Draws the ids of questions. `None` until the first lookup.
    rng: Option<ChaCha20Rng>,
}

impl Shared {
    pub(crate) fn new(config: ResolverConfig) -> Shared {
        Shared { config, cache: Cache::default(), stats: ResolverStats::default(), rng: None }
    }

    pub(crate) fn is_seeded(&self) -> bool {
        self.rng.is_some()
    }

    /// Seeds the generator of ids: from the operating system, or with a fixed value for a
    /// simulation.
    pub(crate) fn seed(&mut self, seed: [u8; 32]) {
        self.rng = Some(ChaCha20Rng::from_seed(seed));
    }
}

/// Counters of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverStats {
    /// Names that were looked up.
    pub lookups: u64,
    /// Questions that the cache answered.
    pub cached: u64,
    /// Questions that were sent, over UDP or TCP.
    pub questions: u64,
    /// Questions that were sent over TCP, because an answer was truncated.
    pub over_tcp: u64,
    /// Questions that were not answered in time.
    pub timeouts: u64,
    /// Answers of servers that could not or would not answer, such as SERVFAIL and REFUSED.
    pub refusals: u64,
    /// Datagrams that were ignored: not a DNS message, not the answer to the question (RFC 5452
    /// §9.1), or from elsewhere.
    pub nonsense: u64,
}
