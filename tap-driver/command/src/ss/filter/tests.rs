use serde_json::json;

use super::*;
use crate::control::state::State;

fn services() -> Services {
    Services::of("http 80/tcp www # web\ndomain 53/udp\n", "")
}

fn parse(text: &str) -> Result<Filter, String> {
    Filter::parse(&[text.to_owned()], &services())
}

fn row(local: &str, peer: &str) -> Row {
    let name = |text: &str| {
        let addr: std::net::SocketAddr = text.parse().expect("an address");
        json!({ "address": addr.ip().to_string(), "port": addr.port(), "interface": null })
    };
    let line = json!({
        "netid": "tcp", "family": "inet", "state": "ESTAB", "inactive": false, "local": name(local), "peer": name(peer),
    });
    Row::from_json(line).expect("a row")
}

/// What the filter says of four sockets, as `ss` of iproute2 6.1 said of the same ones.
#[test]
fn conditions_mean_what_they_mean_to_ss() {
    let rows = [
        row("127.0.0.1:52164", "127.0.0.1:80"),
        row("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:52164"),
        row("[::]:81", "[::]:0"),
        row("127.0.0.1:82", "0.0.0.0:0"),
    ];
    for (filter, expected) in [
        ("", [true, true, true, true]),
        ("src [::ffff:127.0.0.1]:80", [false, true, false, false]),
        ("src 127.0.0.1:80", [false, true, false, false]),
        ("src != 127.0.0.1", [false, false, true, false]),
        ("dst 127/8", [true, true, false, false]),
        ("src [::]:81", [false, false, true, false]),
        ("sport = :http", [false, true, false, false]),
        ("sport www", [false, true, false, false]),
        ("src 0.0.0.0/0", [true, true, false, true]),
        ("src *:80", [false, true, false, false]),
        ("sport gt :80", [true, false, true, true]),
        ("not sport = 80", [true, false, true, true]),
        ("sport>=82&sport<=82", [false, false, false, true]),
        ("sport 80 dport 80", [false, false, false, false]),
        ("(sport = :80 or dport = :80)", [true, true, false, false]),
        ("src :80 or dst :80 and sport 1", [false, true, false, false]),
        ("! (src :80 || dst :80)", [false, false, true, true]),
        ("src ::/0", [false, true, true, false]),
        ("dev lo", [false; 4]),
    ] {
        let parsed = parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(rows.each_ref().map(|row| parsed.matches(row)), expected, "{filter}");
    }
}

#[test]
fn states_are_added_and_excluded() {
    let states = |text: &str| parse(text).unwrap().states;
    let only = |states: &[State]| Some(StateSet::of(states));
    assert_eq!(states("sport 80"), None);
    assert_eq!(
        states("state established state time-wait dport 80"),
        only(&[State::Established, State::TimeWait])
    );
    assert_eq!(states("state bucket exclude syn-recv"), only(&[State::TimeWait]));
    assert_eq!(states("exclude listening"), Some(StateSet::ALL.without(StateSet::of(&[State::Listen]))));
}

#[test]
fn mistakes_are_named_with_what_to_write() {
    for (filter, message) in [
        ("state", "`state` is the last word; a state stands behind it"),
        ("state open", "`open` is not a state; write all"),
        ("src", "`src` is the last word; an address stands behind it"),
        ("src host.example", "`host.example` is not an address; write it like 10.0.0.2"),
        ("src 10.0.0.0/33", "longer than 32 bits"),
        ("src 1.2.3.4.5/8", "is not an address"),
        ("src < 10.0.0.1", "`src` is compared with = or != only"),
        ("sport = 65536", "`65536` is not a port; write a number up to 65535"),
        ("sport = gopher", "`gopher` is not a port"),
        ("(sport 80", "`(` has no `)` behind it"),
        ("sport 80)", "`)` has no `(` before it"),
        ("sport 80 or", "the filter ends where a condition is expected; write src"),
        ("port 80", "`port` is not a condition; write src"),
        ("sport 80 state established", "`state` stands behind a condition; states come first"),
        ("fwmark = 1", "the stack does not know `fwmark`"),
        (&"(".repeat(100_000), "nested deeper than 100 levels"),
        (&"! ".repeat(100_000), "nested deeper than 100 levels"),
    ] {
        let error = parse(filter).expect_err(filter);
        assert!(error.contains(message), "{error}");
    }
}
