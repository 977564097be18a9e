//! The services over UDP: the answers to datagrams.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Service;
use super::pattern::CharacterGenerator;

/// The most characters that the character generator sends in a datagram (RFC 864).
const MAX_GENERATED: usize = 512;

/// Ports of services that answer every datagram: echo, daytime, quote of the day, chargen, time.
const ANSWERING_PORTS: [u16; 5] = [7, 13, 17, 19, 37];

/// The answer to one datagram; `None` if the service does not answer it.
///
/// A datagram from the port of such a service gets no answer: a forged one would let the two
/// services answer each other for ever. The character generator never sends more bytes than it
/// received, because it could otherwise be used to amplify attacks with forged source addresses.
pub(crate) fn answer(
    service: Service,
    request: &Bytes,
    from: SocketAddr,
    daytime: impl Fn() -> String,
) -> Option<Bytes> {
    if from.port() == 0 || ANSWERING_PORTS.contains(&from.port()) {
        return None;
    }
    match service {
        Service::Echo => Some(request.clone()),
        Service::Daytime => Some(daytime().into()),
        Service::Chargen => {
            let mut characters = vec![0; request.len().min(MAX_GENERATED)];
            CharacterGenerator::new().fill(&mut characters);
            Some(characters.into())
        }
        Service::Discard | Service::Http => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(service: Service, request: &[u8], port: u16) -> Option<Bytes> {
        answer(service, &Bytes::copy_from_slice(request), SocketAddr::new([10, 0, 0, 1].into(), port), || {
            "now\r\n".to_owned()
        })
    }

    #[test]
    fn each_service_answers_as_its_rfc_says() {
        assert_eq!(ask(Service::Echo, b"hello", 5000).as_deref(), Some(&b"hello"[..]));
        assert_eq!(ask(Service::Echo, b"", 5000).as_deref(), Some(&b""[..]));
        assert_eq!(ask(Service::Discard, b"hello", 5000), None);
        assert_eq!(ask(Service::Daytime, b"", 5000).as_deref(), Some(&b"now\r\n"[..]));
        assert_eq!(ask(Service::Chargen, b"12345", 5000).as_deref(), Some(&b" !\"#$"[..]));
    }

    #[test]
    fn chargen_does_not_multiply() {
        for len in [0, 1, 512, 513, 60_000] {
            let reply = ask(Service::Chargen, &vec![0; len], 5000).expect("an answer");
            assert_eq!(reply.len(), len.min(512));
        }
    }

    #[test]
    fn services_do_not_talk_to_services() {
        for port in [0, 7, 13, 17, 19, 37] {
            for service in Service::ALL {
                assert_eq!(ask(service, b"hello", port), None, "{service} {port}");
            }
        }
    }
}
