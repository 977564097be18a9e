//! The steps of an input of the machine, and their encoding.

use std::time::Duration;

use super::input::{Input, Output};

/// The options of a segment.
#[derive(Clone, Debug)]
pub(super) enum Options {
    /// A time stamp, if the peer's SYN had one.
    Usual,
    /// A time stamp at this distance from the peer's clock, with an echo at this distance from the
    /// right one.
    Stamped(i32, i32),
    /// The usual options, and SACK blocks whose edges are distances from what the stack sent last.
    Sack(Vec<(i32, i32)>),
    /// These bytes.
    Raw(Vec<u8>),
}

/// A segment of the peer, as distances from the expected values.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) flow: u8,
    pub(super) flags: u8,
    pub(super) ecn: u8,
    /// The distance from what the stack expects.
    pub(super) seq: i32,
    /// The distance from the end of what the stack has sent.
    pub(super) ack: i32,
    pub(super) window: u16,
    pub(super) len: u16,
    pub(super) options: Options,
}

impl Segment {
    /// The segment that a regular peer would send.
    pub(super) fn due(flags: u8, len: u16) -> Segment {
        Segment { flow: 0, flags, ecn: 0, seq: 0, ack: 0, window: 0xffff, len, options: Options::Usual }
    }
}

/// A step. Numbers of sockets and flows count among those that exist.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Segment(Segment),
    Wait(Duration),
    Send(u8, u16),
    Recv(u8, u16),
    Shutdown(u8, u8),
    Close(u8),
    SetOption(u8, u8, u16),
    Accept,
    Icmp {
        flow: u8,
        kind: u8,
        code: u8,
        word: u16,
        seq: i32,
    },
    /// This many segments of data in one batch.
    Burst {
        flow: u8,
        count: u8,
        len: u16,
    },
    /// A new socket, and an action on it.
    Open(u8),
    Datagram {
        port: u8,
        len: u16,
    },
    Look(u8, u8),
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Step {
        match input.byte() % 16 {
            0..=3 => Step::Segment(read_segment(input)),
            4 => Step::Wait(input.duration()),
            5 => Step::Send(input.byte(), input.word()),
            6 => Step::Recv(input.byte(), input.word()),
            7 => Step::Shutdown(input.byte(), input.byte()),
            8 => Step::Close(input.byte()),
            9 => Step::SetOption(input.byte(), input.byte(), input.word()),
            10 => Step::Accept,
            11 => Step::Icmp {
                flow: input.byte(),
                kind: input.byte(),
                code: input.byte(),
                word: input.word(),
                seq: input.offset(),
            },
            12 => Step::Burst { flow: input.byte(), count: input.byte(), len: input.word() },
            13 => Step::Open(input.byte()),
            14 => Step::Datagram { port: input.byte(), len: input.word() },
            _ => Step::Look(input.byte(), input.byte()),
        }
    }

    pub(super) fn write(&self, output: &mut Output) {
        match self {
            Step::Segment(segment) => write_segment(segment, output.byte(0)),
            Step::Wait(duration) => {
                output.byte(4).duration(*duration);
            }
            Step::Send(socket, len) => {
                output.byte(5).byte(*socket).word(*len);
            }
            Step::Recv(socket, len) => {
                output.byte(6).byte(*socket).word(*len);
            }
            Step::Shutdown(socket, how) => {
                output.byte(7).byte(*socket).byte(*how);
            }
            Step::Close(socket) => {
                output.byte(8).byte(*socket);
            }
            Step::SetOption(socket, which, value) => {
                output.byte(9).byte(*socket).byte(*which).word(*value);
            }
            Step::Accept => {
                output.byte(10);
            }
            Step::Icmp { flow, kind, code, word, seq } => {
                output.byte(11).byte(*flow).byte(*kind).byte(*code).word(*word).offset(*seq);
            }
            Step::Burst { flow, count, len } => {
                output.byte(12).byte(*flow).byte(*count).word(*len);
            }
            Step::Open(how) => {
                output.byte(13).byte(*how);
            }
            Step::Datagram { port, len } => {
                output.byte(14).byte(*port).word(*len);
            }
            Step::Look(socket, what) => {
                output.byte(15).byte(*socket).byte(*what);
            }
        }
    }
}

fn read_segment(input: &mut Input<'_>) -> Segment {
    let (flow, flags, how) = (input.byte(), input.byte(), input.byte());
    let (seq, ack) = (input.offset(), input.offset());
    let (window, len) = (input.word(), input.word());
    let options = match how >> 2 & 7 {
        1 => Options::Stamped(input.offset(), input.offset()),
        2 | 3 => {
            let count = 1 + (how >> 5) % 4;
            Options::Sack((0..count).map(|_| (input.offset(), input.offset())).collect())
        }
        4 => Options::Raw(input.counted().to_vec()),
        _ => Options::Usual,
    };
    Segment { flow, flags, ecn: how & 3, seq, ack, window, len, options }
}

fn write_segment(segment: &Segment, output: &mut Output) {
    let Segment { flow, flags, ecn, seq, ack, window, len, options } = segment;
    let how = match options {
        Options::Usual => 0,
        Options::Stamped(..) => 1 << 2,
        Options::Sack(blocks) => 2 << 2 | (blocks.len() as u8 - 1) << 5,
        Options::Raw(_) => 4 << 2,
    };
    output.byte(*flow).byte(*flags).byte(how | ecn).offset(*seq).offset(*ack).word(*window).word(*len);
    match options {
        Options::Usual => {}
        Options::Stamped(value, echo) => {
            output.offset(*value).offset(*echo);
        }
        Options::Sack(blocks) => {
            for (left, right) in blocks {
                output.offset(*left).offset(*right);
            }
        }
        Options::Raw(bytes) => {
            output.counted(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan::testing::TcpSegment;

    use super::*;

    #[test]
    fn steps_are_read_as_they_are_written() {
        let segment = Segment {
            options: Options::Sack(vec![(-3000, -2000), (-1000, 0)]),
            seq: -70_000,
            ..Segment::due(TcpSegment::ACK, 10)
        };
        let steps = [
            Step::Segment(segment),
            Step::Wait(Duration::from_millis(320)),
            Step::SetOption(1, 2, 3),
            Step::Icmp { flow: 0, kind: 1, code: 4, word: 1000, seq: -500 },
            Step::Burst { flow: 0, count: 3, len: 1000 },
            Step::Look(1, 2),
        ];
        let mut output = Output::default();
        steps.iter().for_each(|step| step.write(&mut output));
        let mut input = Input::new(&output.bytes);
        for step in &steps {
            assert_eq!(format!("{:?}", Step::read(&mut input)), format!("{step:?}"));
        }
        assert!(input.is_empty());
    }
}
