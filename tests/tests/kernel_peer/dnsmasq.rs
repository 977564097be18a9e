//! dnsmasq as the DHCP and DNS server of the network.

use std::env;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use portolan::{AddressState, Config};
use portolan_runtime::{Builder, DhcpClient, DhcpConfig, DhcpEvent, Runtime, TcpStream};
use portolan_tests::namespace::{beside_portolan, tool};

use super::wire::{DEVICE, KERNEL4, KERNEL6, open_device, wait_for};

/// The addresses that dnsmasq leases.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 50);
const LAST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 59);
/// Addresses of `many.example.test`: more than fit into a datagram.
const MANY: u8 = 100;
/// The time that a server may need.
const SOON: Duration = Duration::from_secs(20);

/// A running dnsmasq.
struct Dnsmasq {
    child: Child,
    dir: PathBuf,
}

impl Dnsmasq {
    fn start(name: &str) -> Dnsmasq {
        let dir = env::temp_dir().join(format!("portolan-dnsmasq-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let mut command = Command::new("dnsmasq");
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-ping"])
            .args([
                "--user=root",
                "--group=root",
                "--pid-file=",
                "--bind-interfaces",
                "--except-interface=lo",
            ])
            .args([&format!("--interface={DEVICE}"), "--dhcp-authoritative", "--log-dhcp"])
            .arg(format!("--log-facility={}", dir.join("log").display()))
            .arg(format!("--dhcp-leasefile={}", dir.join("leases").display()))
            .arg(format!("--dhcp-range={FIRST},{LAST},255.255.255.0,300"))
            .args(["--dhcp-option=option:mtu,1400", "--domain=example.test"])
            .arg(format!("--dhcp-option=121,192.168.7.0/24,{KERNEL4},0.0.0.0/0,{KERNEL4}"))
            .arg(format!("--host-record=server.example.test,{KERNEL4},{KERNEL6}"))
            .args(["--cname=www.example.test,server.example.test", "--local=/example.test/"])
            .args((1..=MANY).map(|host| format!("--host-record=many.example.test,10.9.1.{host}")));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dnsmasq: {error}; tests/run says what must be installed"));
        let dnsmasq = Dnsmasq { child, dir };
        wait_for("dnsmasq", || dnsmasq.log().contains("DHCP, IP range").then_some(()));
        dnsmasq
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("dnsmasq:\n{}", self.log());
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Portolan on the device, without an IPv4 address.
fn start(probes: u8) -> Runtime {
    let device = open_device(&[KERNEL4.into(), KERNEL6.into()]);
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = probes;
    Builder::new().config(config).interface(device, []).addresses_later().start().expect("a stack")
}

/// The IPv4 addresses of the stack.
fn addresses(runtime: &Runtime) -> Vec<IpAddr> {
    let interfaces = runtime.handle().interfaces();
    let addresses = interfaces.into_iter().flat_map(|interface| interface.addresses);
    let usable = addresses.filter(|(cidr, state)| {
        cidr.addr.is_ipv4() && !cidr.addr.is_loopback() && *state == AddressState::Preferred
    });
    usable.map(|(cidr, _)| cidr.addr).collect()
}

fn routes(runtime: &Runtime) -> String {
    let routes = runtime.handle().with_stack(|stack| stack.routes().to_vec());
    let via = routes.iter().filter_map(|route| Some(format!("{} {}", route.destination, route.gateway?)));
    via.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_lease_brings_addresses_routes_and_names_and_is_renewed_and_released() {
    let test = "dnsmasq::a_lease_brings_addresses_routes_and_names_and_is_renewed_and_released";
    beside_portolan(test, &[], || {
        let runtime = start(0);
        let dnsmasq = Dnsmasq::start("lease");
        let client = DhcpClient::start(&runtime, "if0", DhcpConfig::default()).expect("a client");
        let lease = client.wait_bound(SOON).expect("a lease");
        let Some(IpAddr::V4(addr)) = addresses(&runtime).first().copied() else { panic!("no address") };
        assert!((FIRST..=LAST).contains(&addr) && lease.address.addr == IpAddr::V4(addr), "{lease}");
        assert_eq!((lease.server, lease.mtu), (KERNEL4, Some(1400)));
        assert_eq!(lease.duration, Some(Duration::from_secs(300)));
        assert_eq!(routes(&runtime), format!("192.168.7.0/24 {KERNEL4}, 0.0.0.0/0 {KERNEL4}"));

        let resolver = runtime.handle().resolver();
        let lookup = |name: &str| resolver.lookup(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(lookup("server.example.test")[0], IpAddr::V4(KERNEL4));
        assert_eq!(lookup("server"), [IpAddr::V4(KERNEL4), KERNEL6.into()]);
        assert_eq!(lookup("www"), [IpAddr::V4(KERNEL4), KERNEL6.into()]);
        assert_eq!(lookup("many.example.test").len(), 32);
        assert!(resolver.stats().over_tcp > 0);
        assert_eq!(
            resolver.lookup("none.example.test.").expect_err("NXDOMAIN").kind(),
            std::io::ErrorKind::NotFound
        );

        let listener = TcpListener::bind((KERNEL4, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut stream = TcpStream::connect(&runtime, ("www", port)).expect("a connection");
        drop(listener.accept().expect("it was accepted"));
        assert_eq!(stream.read(&mut [0; 1]).expect("its end"), 0);

        assert!(matches!(client.next_event(SOON), Ok(Some(DhcpEvent::Bound(_)))));
        client.renew();
        let Ok(Some(DhcpEvent::Renewed(renewed))) = client.next_event(SOON) else { panic!("not renewed") };
        assert_eq!((renewed.address, &renewed.routes), (lease.address, &lease.routes));
        client.release();
        dnsmasq.wait_for_log("DHCPRELEASE");
        assert!(addresses(&runtime).is_empty() && routes(&runtime).is_empty());
        assert!(resolver.config().servers.is_empty());
    });
}

#[test]
fn an_address_that_another_host_has_is_declined() {
    beside_portolan("dnsmasq::an_address_that_another_host_has_is_declined", &[], || {
        // The stack probes for five seconds and more, so that the address comes in time on a busy
        // machine as well. The first probe after that finds it. Starting takes as long, because of
        // the link-local address.
        let runtime = start(5);
        let dnsmasq = Dnsmasq::start("decline");
        let mut config = DhcpConfig::default();
        config.earlier_address = Some(FIRST);
        let client = DhcpClient::start(&runtime, "if0", config).expect("a client");
        // dnsmasq logs its answer before it sends it. A kernel that has the address by then takes
        // the answer for itself, and the client waits in vain. So the stack must have got it.
        wait_for("probes", || {
            let interfaces = runtime.handle().interfaces();
            let mut addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
            addresses
                .any(|(cidr, state)| cidr.addr == FIRST && *state == AddressState::Tentative)
                .then_some(())
        });
        tool(&format!("ip addr add {FIRST}/24 dev {DEVICE}"));
        let event = client.next_event(SOON).expect("the runtime runs");
        let Some(DhcpEvent::Lost(lease, why)) = event else { panic!("{event:?}") };
        assert_eq!((lease.address.addr, why.as_str()), (IpAddr::V4(FIRST), "another host has the address"));
        dnsmasq.wait_for_log("DHCPDECLINE");
        assert!(client.lease().is_none() && addresses(&runtime).is_empty());
        drop(runtime);
        assert_eq!(client.wait_bound(SOON).expect_err("an end").kind(), std::io::ErrorKind::NetworkDown);
    });
}
