//! The handling of events: arrivals, timers, programs, and their consequences.

use alloc::format;

use bytes::Bytes;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::ids::NodeId;
use super::super::observer::Skips;
use super::super::packet;
use super::super::program::{Next, OnHost};
use super::super::record::Sight;
use super::super::schedule::SimEvent;
use super::{Attachment, Checks, Kind, MAX_STEPS_AT_ONE_TIME, Running, SimNet, Wire};
use crate::drop_reason::DropReason;
use crate::frame::Frame;
use crate::network::InterfaceId;
use crate::testing::decode::describe_packet;
use crate::testing::path::{Loss, TooBig};
use crate::time::Instant;

impl SimNet {
    /// Moves the clock and handles one event.
    pub(super) fn advance(&mut self, at: Instant) {
        if at > self.now {
            self.now = at;
            self.steps_at_now = 0;
        }
        self.steps_at_now += 1;
        let what = self.schedule.pop(self.now);
        if self.steps_at_now > MAX_STEPS_AT_ONE_TIME {
            return self.fail(format!("time stands still: {what:?}"));
        }
        match what {
            Some(SimEvent::Arrival(wire)) => self.arrive(wire),
            Some(SimEvent::Timer(node)) => {
                let now = self.now;
                if let Kind::Host(host) = &mut self.nodes[node].kind {
                    // The timer may have moved since.
                    if host.stack.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
                        host.stack.handle_timeout(now);
                    }
                    self.touch(node);
                }
            }
            Some(SimEvent::Program(index)) => {
                self.step_program(index);
                self.touch(self.programs[index].node);
            }
            None => {}
        }
    }

    fn arrive(&mut self, wire: usize) {
        while let Some(arrived) = self.wires[wire].path.receive(self.now) {
            let Wire { to, iface, .. } = self.wires[wire];
            match self.nodes[to].kind {
                Kind::Host(_) => {
                    if arrived.is_damaged && self.record.is_kept() {
                        self.record.note(self.now, Sight::Damaged(NodeId(to)), &arrived.packet);
                    }
                    self.deliver(to, iface, arrived.packet);
                }
                Kind::Router => match packet::hop(&arrived.packet) {
                    Some(packet) => self.forward(to, packet),
                    None => self.lose(to, arrived.packet),
                },
            }
        }
        self.after_path_work(wire);
    }

    fn deliver(&mut self, node: usize, iface: InterfaceId, packet: Bytes) {
        let now = self.now;
        if self.record.is_kept() {
            self.record.note(now, Sight::Received(NodeId(node)), &packet);
        }
        if self.checks == Checks::On {
            self.observer.on_received(node, &packet);
        }
        if let Kind::Host(host) = &mut self.nodes[node].kind {
            host.stack.handle_frame(now, iface, Frame::new(packet));
        }
        self.touch(node);
    }

    fn forward(&mut self, node: usize, packet: Bytes) {
        let wire = packet::destination(&packet).and_then(|addr| self.nodes[node].routes.get(&addr));
        match wire {
            Some(&wire) => self.offer(wire, packet),
            None => self.lose(node, packet),
        }
    }

    fn lose(&mut self, node: usize, packet: Bytes) {
        if self.record.is_kept() {
            self.record.note(self.now, Sight::Lost(NodeId(node), Loss::Unroutable), &packet);
        }
    }

    /// Hands a packet to a path.
    fn offer(&mut self, wire: usize, packet: Bytes) {
        let Wire { path, from, .. } = &mut self.wires[wire];
        let from = *from;
        let mtu = path.config().mtu.filter(|&mtu| packet.len() > mtu);
        let answer = mtu
            .filter(|_| path.config().too_big == TooBig::Answered)
            .and_then(|mtu| packet::too_big(&packet, mtu, router_addrs(wire)));
        path.send(self.now, packet);
        self.after_path_work(wire);
        let Some(answer) = answer else { return };
        match self.nodes[from].kind {
            // The router that answers is right beside the host, so the answer arrives at once.
            Kind::Host(_) => self.deliver(from, self.wires[wire ^ 1].iface, answer),
            Kind::Router => self.forward(from, answer),
        }
    }

    fn after_path_work(&mut self, wire: usize) {
        let Wire { path, from, is_busy: is_busy_before, .. } = &mut self.wires[wire];
        if self.record.is_kept() {
            for (at, loss, packet) in path.take_losses() {
                self.record.note(at, Sight::Lost(NodeId(*from), loss), &packet);
            }
        }
        let is_busy = !path.is_empty();
        if is_busy != core::mem::replace(is_busy_before, is_busy) {
            self.busy_wires = if is_busy { self.busy_wires + 1 } else { self.busy_wires - 1 };
            self.quiet_since = self.now;
        }
        if let Some(at) = path.next_arrival() {
            self.schedule.enter(SimEvent::Arrival(wire), at.max(self.now));
        }
    }

    pub(super) fn touch(&mut self, node: usize) {
        if !self.nodes[node].is_touched {
            self.nodes[node].is_touched = true;
            self.touched.push(node);
        }
    }

    /// Takes frames and events from every stack that was called.
    pub(super) fn settle(&mut self) {
        while let Some(node) = self.touched.pop() {
            self.nodes[node].is_touched = false;
            self.settle_host(node);
        }
    }

    fn settle_host(&mut self, node: usize) {
        for _ in 0..MAX_STEPS_AT_ONE_TIME {
            self.transmit_all(node);
            let Kind::Host(host) = &mut self.nodes[node].kind else { return };
            let mut has_events = false;
            while host.stack.poll_event().is_some() {
                has_events = true;
            }
            if !has_events || self.failure.is_some() {
                if let Some(deadline) = host.stack.poll_timeout() {
                    self.schedule.enter(SimEvent::Timer(node), deadline.at.max(self.now));
                }
                return;
            }
            for place in 0..host.programs.len() {
                if let Kind::Host(host) = &self.nodes[node].kind {
                    let program = host.programs[place];
                    self.step_program(program);
                }
            }
        }
        self.fail(format!("{} and its programs go on for ever", NodeId(node)));
    }

    fn transmit_all(&mut self, node: usize) {
        let now = self.now;
        for _ in 0..MAX_STEPS_AT_ONE_TIME {
            let Kind::Host(host) = &mut self.nodes[node].kind else { return };
            let Some(transmit) = host.stack.poll_transmit(now) else {
                if host.stack.handle_loopback(now) {
                    continue;
                }
                return;
            };
            let Some(&Attachment { out, .. }) = host.attachments.get(transmit.iface().index()) else {
                continue;
            };
            let packet = transmit.to_frame().bytes;
            self.record.note(now, Sight::Sent(NodeId(node)), &packet);
            let stats = host.stack.stats();
            let too_big = stats.drops(DropReason::PacketTooBig) + stats.icmp.errors_received;
            let skips = if too_big > 0 { Skips::Some } else { Skips::None };
            if self.checks == Checks::On
                && let Err(error) = self.observer.on_sent(node, &packet, skips)
            {
                let line = describe_packet(&packet);
                return self.fail(format!("{} sends {line}: {error}", NodeId(node)));
            }
            self.offer(out, packet);
        }
        self.fail(format!("{} sends without end", NodeId(node)));
    }

    fn step_program(&mut self, index: usize) {
        let Running { program, node, is_done } = &mut self.programs[index];
        if *is_done {
            return;
        }
        let (Some(mut program), Kind::Host(host)) = (program.take(), &mut self.nodes[*node].kind) else {
            return;
        };
        let mut failure = None;
        let next = program.step(&mut OnHost { now: self.now, stack: &mut host.stack, failure: &mut failure });
        self.programs[index].program = Some(program);
        match next {
            Next::Event => {}
            Next::At(at) => self.schedule.enter(SimEvent::Program(index), at.max(self.now)),
            Next::Done => self.programs[index].is_done = true,
        }
        if let Some(failure) = failure {
            let node = NodeId(self.programs[index].node);
            self.fail(format!("a program on {node}: {failure}"));
        }
    }
}

/// The addresses of the router at the beginning of a wire, as the source of ICMP messages.
fn router_addrs(wire: usize) -> [IpAddr; 2] {
    [
        Ipv4Addr::from(0x0aff_0000 + wire as u32 + 1).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xffff, wire as u16 + 1).into(),
    ]
}
