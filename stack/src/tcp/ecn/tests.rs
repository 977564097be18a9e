use super::*;

fn data(state: &mut EcnState, ecn: IpEcn, flags: Flags) -> AckDemand {
    state.on_packet(&Header { flags, ip_ecn: ecn, ..Header::default() }, 1000)
}

fn classic() -> EcnState {
    EcnState { mode: EcnMode::Rfc3168, ..EcnState::default() }
}

/// RFC 3168 §6.1.3: ECE from CE until CWR; CE in the segment with CWR starts ECE again.
#[test]
fn ece_until_cwr() {
    let mut state = classic();
    let echoes = |state: &mut EcnState| {
        let mut header = Header::default();
        state.write(&mut header);
        header.flags.contains(Flags::ECE)
    };
    assert_eq!(data(&mut state, IpEcn::Ect0, Flags::ACK), AckDemand::Ordinary);
    assert!(!echoes(&mut state));
    assert_eq!(data(&mut state, IpEcn::Ce, Flags::ACK), AckDemand::Quick);
    assert_eq!(data(&mut state, IpEcn::Ce, Flags::ACK), AckDemand::Ordinary);
    assert_eq!(data(&mut state, IpEcn::Ect0, Flags::ACK), AckDemand::Ordinary);
    assert!(echoes(&mut state) && echoes(&mut state));
    let cwr = Flags::ACK.with(Flags::CWR);
    assert_eq!(state.on_packet(&Header { flags: cwr, ..Header::default() }, 0), AckDemand::Ordinary);
    assert!(echoes(&mut state), "CWR is said with data");
    assert_eq!(data(&mut state, IpEcn::Ce, cwr), AckDemand::Quick);
    assert!(echoes(&mut state));
    assert_eq!(data(&mut state, IpEcn::Ect0, cwr), AckDemand::Now);
    assert!(!echoes(&mut state));
    // Data that is no longer ECN-capable is a retransmission.
    assert_eq!(data(&mut state, IpEcn::NotEct, Flags::ACK), AckDemand::Quick);
}

/// RFC 3168 §6.1.1, §6.1.2, §6.1.5: new data is ECN-capable and carries CWR once.
#[test]
fn new_data_is_marked_and_old_is_not() {
    let mut state = classic();
    state.on_established(SeqNumber(u32::MAX - 999));
    state.owes_cwr = true;
    let mut send = |seq: u32, len| {
        let mut header = Header { seq: SeqNumber(seq), ..Header::default() };
        state.write_data(&mut header, len);
        (header.ip_ecn, header.flags)
    };
    assert_eq!(send(u32::MAX - 999, 1000), (IpEcn::Ect0, Flags::CWR));
    assert_eq!(send(0, 500), (IpEcn::Ect0, Flags::default()));
    assert_eq!(send(u32::MAX - 999, 1000), (IpEcn::NotEct, Flags::default()));
    assert_eq!(send(0, 500), (IpEcn::NotEct, Flags::default()));
    assert_eq!(send(500, 1), (IpEcn::Ect0, Flags::default()));
}
