//! [`ChosenErrors`]: the ICMP errors that programs choose as the answer to intercepted packets.

use bytes::Bytes;

use crate::Ctx;
use crate::config::Config;
use crate::interface_id::InterfaceId;
use crate::ip::refusal::IcmpError;
use crate::network::Network;
use crate::rate_limit::{PeerKey, PeerLimit, Rate, SharedBudget};
use crate::rng::Rng;
use crate::time::Instant;

/// The rate limits of the ICMP errors that programs choose: for each source, and for all sources.
/// They are apart from those of other errors, so that refusals which a program wants do not depend
/// on how many packets nobody wants.
#[derive(Debug)]
pub(super) struct ChosenErrors {
    shares: PeerLimit,
    budget: SharedBudget,
}

impl ChosenErrors {
    pub(super) fn new(config: &Config, rng: &mut Rng) -> ChosenErrors {
        let per_second = config.interception.max_unreachables_per_second;
        ChosenErrors {
            shares: PeerLimit::new(rng),
            budget: SharedBudget::new(per_second, per_second, Instant::ZERO),
        }
    }

    /// Sends an error about a packet with this traffic class. Returns false if there is no token
    /// for it, or no address that it could come from.
    pub(super) fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        source: PeerKey,
        iface: InterfaceId,
        packet: (&Bytes, u8),
        error: IcmpError,
    ) -> bool {
        let rate = Rate::per_second(ctx.config.interception.max_unreachables_per_source);
        if !self.budget.has_some(ctx.now) || !self.shares.take(ctx.now, source, rate) {
            ctx.stats.interception.answers_limited += 1;
            return false;
        }
        let is_sent = network.send_chosen_error(ctx, iface, packet, error);
        if is_sent {
            self.budget.take(ctx.rng);
            ctx.stats.interception.unreachables += 1;
        }
        is_sent
    }
}
