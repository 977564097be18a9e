//! Which call comes next.

use portolan::{LinkAddr, LinkHeader, MacAddr, PacketMembershipKind};

use super::{Answer, Call, Interface, MTU, OWN, PEER};
use crate::soak::dice::Dice;

/// The most sockets that are open at once.
const OPEN: usize = 6;
/// The most frames that come in or go out before everything is read: no receive buffer is full.
const MAX_FRAMES: usize = 40;
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 9]);
/// EtherTypes of which no IP stack answers a frame.
const ETHERTYPES: [u16; 4] = [0x88b5, 0x88b6, 46, 0x0600];

/// Draws calls, and remembers what the sockets are.
pub(super) struct Generator {
    dice: Dice,
    sockets: Vec<Known>,
    frames: usize,
}

/// What is known of a socket.
#[derive(Clone, Copy, Default)]
struct Known {
    is_open: bool,
    /// Whether it is bound to the loopback. Portolan's carries IP only, so nothing is sent there.
    is_on_loopback: bool,
    /// The memberships in promiscuous mode.
    promiscuous: usize,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Generator { dice: Dice::new(seed, "packets", 0), sockets: Vec::new(), frames: 0 }
    }

    pub(super) fn next(&mut self) -> Call {
        loop {
            if let Some(call) = self.draw() {
                return call;
            }
        }
    }

    fn draw(&mut self) -> Option<Call> {
        let open = self.sockets.iter().filter(|known| known.is_open).count();
        let chance = self.dice.within(0, 99);
        if open < 2 || (chance < 6 && open < OPEN) {
            return Some(Call::Socket(self.dice.pick(&[LinkHeader::Included, LinkHeader::Cooked])));
        }
        let has_room = self.frames < MAX_FRAMES;
        if chance < 30 {
            return has_room.then(|| self.draw_frame());
        }
        let last = self.sockets.len() as u64 - 1;
        let d = self.dice.within(0, last) as usize;
        // A closed socket has its turn, but not often.
        if !self.sockets[d].is_open && !self.dice.one_in(8) {
            return None;
        }
        Some(match chance {
            30..50 => Call::Recv(d, self.dice.pick(&[0, 5, 14, 40, 2000])),
            50..53 => Call::Peek(d, self.dice.pick(&[5, 2000])),
            53..63 => Call::Bind(d, self.interface(), self.protocol()),
            63..66 => Call::Name(d),
            66..74 if has_room && !self.sockets[d].is_on_loopback => self.draw_send(d),
            74..77 => Call::Filter(d, self.dice.pick(&[0, 1, 10, 20, 60, u32::MAX])),
            77..79 => Call::FilterLength(d, self.dice.pick(&[0, 1, 20, 46, 60])),
            79..81 => Call::Detach(d),
            81 => Call::Lock(d, self.dice.one_in(3)),
            82..85 => Call::Statistics(d),
            85..90 => self.draw_membership(d),
            90..92 => Call::IgnoreOutgoing(d, self.dice.one_in(2)),
            92 => Call::Absent(d, self.dice.within(0, 3) as u8),
            93 => Call::RecvUrgent(d),
            94..97 => Call::Readable(d),
            97 => Call::Close(d),
            _ => return None,
        })
    }

    fn draw_frame(&mut self) -> Call {
        let is_promiscuous = self.sockets.iter().any(|known| known.promiscuous > 0);
        // A TAP device shows frames for other stations at all times.
        let station = match self.dice.within(0, 4) {
            0 if is_promiscuous => STRANGER,
            1 => MacAddr::BROADCAST,
            2 => GROUP,
            _ => OWN,
        };
        // A TAP device drops a frame that ends with its header.
        let len = self.dice.pick(&[1, 2, 20, 46, 100, 986]);
        Call::Inject(station, self.dice.pick(&ETHERTYPES), len)
    }

    fn draw_send(&mut self, d: usize) -> Call {
        let mtu = usize::from(MTU);
        let around = self.dice.pick(&[mtu, mtu + 4, mtu + 14, mtu + 18]);
        let len = match self.dice.within(0, 5) {
            0 => self.dice.within(0, 15) as usize,
            1 => around + self.dice.within(0, 1) as usize,
            _ => self.dice.within(14, 200) as usize,
        };
        let ethertype = self.dice.pick(&[0x88b5, 0x88b6]);
        if self.dice.one_in(2) {
            return Call::Send(d, len, ethertype);
        }
        let interface =
            self.dice.pick(&[Interface::Ethernet, Interface::Ethernet, Interface::Missing, Interface::Any]);
        let protocol = self.dice.pick(&[0x88b5, LinkAddr::ETH_P_802_2, LinkAddr::ETH_P_802_3]);
        Call::SendTo(
            d,
            len,
            interface,
            protocol,
            self.dice.pick(&[PEER, MacAddr::BROADCAST, MacAddr([0; 6])]),
        )
    }

    fn draw_membership(&mut self, d: usize) -> Call {
        let kind = self.dice.pick(&[
            PacketMembershipKind::Promiscuous,
            PacketMembershipKind::Promiscuous,
            PacketMembershipKind::Multicast,
            PacketMembershipKind::AllMulticast,
            PacketMembershipKind::Unicast,
        ]);
        let interface = self.dice.pick(&[Interface::Ethernet, Interface::Ethernet, Interface::Missing]);
        let mac = self.dice.pick(&[None, None, Some(GROUP), Some(STRANGER)]);
        let mac = if kind == PacketMembershipKind::Promiscuous { None } else { mac };
        Call::Membership(d, !self.dice.one_in(3), interface, kind, mac)
    }

    fn interface(&mut self) -> Interface {
        match self.dice.within(0, 9) {
            0 => Interface::Missing,
            1 => Interface::Loopback,
            2..5 => Interface::Any,
            _ => Interface::Ethernet,
        }
    }

    fn protocol(&mut self) -> u16 {
        let all = LinkAddr::ETH_P_ALL;
        let lengths = self.dice.pick(&[LinkAddr::ETH_P_802_2, LinkAddr::ETH_P_802_3]);
        self.dice.pick(&[all, all, all, 0, 0x88b5, 0x0600, lengths, LinkAddr::ETH_P_IP])
    }

    /// Remembers what the call has done.
    pub(super) fn learn(&mut self, call: Call, answer: &Answer) {
        let is_done = matches!(answer, Answer::Done(_));
        match call {
            Call::Socket(_) => self.sockets.push(Known { is_open: true, ..Known::default() }),
            Call::Close(d) if is_done => self.sockets[d] = Known::default(),
            Call::Bind(d, interface, _) if is_done => {
                self.sockets[d].is_on_loopback = interface == Interface::Loopback;
            }
            Call::Inject(..) => self.frames += 1,
            Call::Send(..) | Call::SendTo(..) if is_done => self.frames += 1,
            Call::Membership(d, is_added, Interface::Ethernet, PacketMembershipKind::Promiscuous, _)
                if is_done =>
            {
                let count = &mut self.sockets[d].promiscuous;
                *count = if is_added { *count + 1 } else { count.saturating_sub(1) };
            }
            _ => {}
        }
    }
}
