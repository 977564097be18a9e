//! Records of packets as text, and as bytes for Wireshark.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use bytes::Bytes;

use super::NodeId;
use crate::network::Medium;
use crate::testing::decode::describe;
use crate::testing::path::Loss;
use crate::time::Instant;

/// What happened to a packet, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A host sent it.
    Sent(NodeId),
    /// A host received it.
    Received(NodeId),
    /// A bit of it was inverted on the last link before this host, which receives it.
    Damaged(NodeId),
    /// It was lost after this node.
    Lost(NodeId, Loss),
}

/// A recorded packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When it was seen.
    pub at: Instant,
    /// What happened to it, and where.
    pub sight: Sight,
    /// The IP packet.
    pub packet: Bytes,
}

/// The most recent packets, and a hash of all packets.
#[derive(Debug, Default)]
pub(super) struct Record {
    keep: usize,
    sightings: VecDeque<Sighting>,
    pub(super) digest: u64,
}

/// How many bytes of a packet are hashed: all headers, and the beginning of the data.
const DIGESTED_BYTES: usize = 100;

impl Record {
    pub(super) fn keep(&mut self, count: usize) {
        self.keep = count;
    }

    pub(super) fn is_kept(&self) -> bool {
        self.keep > 0
    }

    pub(super) fn note(&mut self, at: Instant, sight: Sight, packet: &Bytes) {
        if let Sight::Sent(node) = sight {
            self.add(at.as_nanos());
            self.add((node.0 as u64) << 32 | packet.len() as u64);
            for chunk in packet[..packet.len().min(DIGESTED_BYTES)].chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.add(u64::from_le_bytes(word));
            }
        }
        if self.keep > 0 {
            if self.sightings.len() >= self.keep {
                self.sightings.pop_front();
            }
            self.sightings.push_back(Sighting { at, sight, packet: packet.clone() });
        }
    }

    fn add(&mut self, word: u64) {
        self.digest = (self.digest.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub(super) fn sightings(&self) -> impl DoubleEndedIterator<Item = &Sighting> + '_ {
        self.sightings.iter()
    }

    pub(super) fn transcript(&self) -> String {
        let mut lines = String::new();
        for Sighting { at, sight, packet } in &self.sightings {
            let sight = match sight {
                Sight::Sent(node) => format!("{node} sends"),
                Sight::Received(node) => format!("{node} gets"),
                Sight::Damaged(node) => format!("damaged before {node}"),
                Sight::Lost(node, loss) => format!("behind {node} lost ({loss:?})"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{at} {sight} {}", describe(Medium::Ip, packet));
        }
        lines
    }
}
