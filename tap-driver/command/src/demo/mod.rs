//! `portolan demo`: shows the main features in one run, for somebody who sees Portolan for the
//! first time.
//!
//! Everything here but the stack itself uses the kernel's sockets: the kernel is the peer.

mod crowd;
mod echo;
mod page;
mod ping;
mod report;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use portolan::Stats;
use portolan_tap::{Isolation, Offload, isolate};

use crate::addresses::AddressPlan;
use crate::failure::Failure;
use crate::services::{Service, Services};
use crate::session::{Session, Settings, kernel_has_ipv6};
use report::{Outcome, Report, show_bytes, show_duration, show_rate};

const PINGS: u16 = 20;
const ECHO_BYTES: u64 = 100 << 20;
const CROWD: usize = 1000;

const NEXT: &str = "\
What to try next:
  portolan up --isolated -- bash             a shell in such a network: curl http://10.0.0.2/, ping fd10::2
  portolan up --isolated --impair loss=3%,delay=20ms --pcap demo.pcap -- ping -c 5 10.0.0.2
                                             a bad network, recorded for Wireshark
  sudo portolan up                           on this host's own network; then, elsewhere: ping 10.0.0.2
  portolan up --help                         everything else";

/// Runs the demonstration. Exits with 1 if a step failed, or if the report could not be written.
pub(crate) fn run() -> Result<ExitCode, Failure> {
    let isolation = isolate()?;
    let mut report = Report::new(io::stdout());
    report.say("Portolan is a TCP/IP stack in user space. Here it meets the kernel of this machine.\n");
    let whose = match isolation {
        Isolation::UserAndNetwork => "in a user and network namespace of its own",
        Isolation::NetworkOnly => "in a network namespace of its own",
    };
    report.step("a network", || Ok(Outcome::Done(format!("{whose}: nothing of this host is touched"))));
    let ipv6 = kernel_has_ipv6();
    let plan = AddressPlan::new(&[], &[], &[], ipv6).map_err(Failure::failed)?;
    let mut session = None;
    report.step("a TAP device", || {
        let (started, done) = start(plan)?;
        session = Some(started);
        Ok(done)
    });
    if let Some(session) = session {
        steps(&session, &mut report);
        let stats = session.handle().stats();
        report.say(&format!("\n{}", traffic(&stats)));
        session.stop();
    }
    let code = conclude(&mut report);
    report.lost().map_or(Ok(code), |error| Err(Failure::unwritten(error)))
}

/// The number of frames, and of those that were dropped, by reason.
fn traffic(stats: &Stats) -> String {
    let reasons: Vec<String> =
        stats.drop_counts().map(|(reason, count)| format!("{reason:?} {count}")).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let (taken, sent, dropped) = (stats.link.frames_in, stats.link.frames_out, stats.all_drops());
    format!("The stack took {taken} frames in, sent {sent} out, and dropped {dropped}{why}.")
}

fn conclude(report: &mut Report) -> ExitCode {
    match report.failures() {
        0 => {
            report.say("All of it worked.\n");
            report.say(NEXT);
            ExitCode::SUCCESS
        }
        failures => {
            report.say(&format!(
                "{failures} of {} steps failed. `portolan -vv demo` says more about why.",
                report.steps()
            ));
            ExitCode::FAILURE
        }
    }
}

fn start(plan: AddressPlan) -> io::Result<(Session, Outcome)> {
    let begin = Instant::now();
    let settings = Settings {
        name: None,
        plan,
        mac: None,
        mtu: 1500,
        pcap: None,
        impairment: None,
        offload: Offload::Auto,
        queues: 1,
        memory_limit_bytes: None,
        isolated: true,
        dhcp: false,
    };
    let session = Session::start(settings).map_err(|failure| io::Error::other(failure.to_string()))?;
    session.finish_start(Services::all())()?;
    let show = |cidrs: &[portolan::Cidr]| {
        cidrs.iter().map(|cidr| cidr.addr.to_string()).collect::<Vec<_>>().join(" and ")
    };
    let line = format!(
        "{} is up in {}\n{:26}the kernel is {}, the stack is {}",
        session.name,
        show_duration(begin.elapsed()),
        "",
        show(&session.plan.host),
        show(&session.plan.stack)
    );
    Ok((session, Outcome::Done(line)))
}

fn steps(session: &Session, report: &mut Report) {
    let address =
        |ipv6: bool| session.plan.stack.iter().map(|cidr| cidr.addr).find(|addr| addr.is_ipv6() == ipv6);
    let no_ipv6 = || Ok(Outcome::Skipped("this kernel has IPv6 switched off".to_owned()));
    for (title, ipv6) in [("ping over IPv4", false), ("ping over IPv6", true)] {
        report.step(title, || address(ipv6).map_or_else(no_ipv6, ping_step));
    }
    for (title, ipv6) in [("a web page, IPv4", false), ("a web page, IPv6", true)] {
        report.step(title, || address(ipv6).map_or_else(no_ipv6, page_step));
    }
    let Some(addr) = address(false) else { return };
    let server = SocketAddr::new(addr, Service::Echo.port());
    report.step("100 MiB through echo", || {
        let took = echo::echo(server, ECHO_BYTES)?;
        Ok(Outcome::Done(format!(
            "every byte came back as it was sent, in {}: {} each way",
            show_duration(took),
            show_rate(ECHO_BYTES, took)
        )))
    });
    report.step("1,000 connections", || {
        let took = crowd::crowd(server, CROWD)?;
        Ok(Outcome::Done(format!("open at once, each with its own answer, in {}", show_duration(took))))
    });
}

fn ping_step(addr: IpAddr) -> io::Result<Outcome> {
    let series = ping::ping(addr, PINGS)?;
    let answered = series.round_trips.len();
    let mut sorted = series.round_trips.clone();
    sorted.sort_unstable();
    let (Some(&fastest), Some(&median), Some(&slowest)) =
        (sorted.first(), sorted.get(answered / 2), sorted.last())
    else {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{addr} does not answer")));
    };
    let line = format!(
        "{addr} answered {answered} of {}; round trip {} (fastest {}, slowest {})",
        series.sent,
        show_duration(median),
        show_duration(fastest),
        show_duration(slowest)
    );
    if answered < series.sent {
        return Err(io::Error::new(io::ErrorKind::TimedOut, line));
    }
    Ok(Outcome::Done(line))
}

fn page_step(addr: IpAddr) -> io::Result<Outcome> {
    let server = SocketAddr::new(addr, Service::Http.port());
    let begin = Instant::now();
    let page = page::fetch(server, "/")?;
    let took: Duration = begin.elapsed();
    if page.status != "200 OK" || !page.body.contains("<h1>Portolan on ") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("http://{server}/ answered {:?} with {} bytes", page.status, page.body.len()),
        ));
    }
    Ok(Outcome::Done(format!(
        "http://{}/ is {} of status page, {} in {}",
        if addr.is_ipv6() { format!("[{addr}]") } else { addr.to_string() },
        show_bytes(page.body.len() as u64),
        page.status,
        show_duration(took)
    )))
}
