//! Portolan, driven by its runtime, with its default configuration.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use portolan::{Cidr, Config, Medium};
use portolan_runtime::device::{Device, MemoryPair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

use super::{CONNECT_TIMEOUT, Host, PORT_FRAMES, Place, Program};
use crate::flow::{self, CALL_TIMEOUT, Shared, Stall};

pub(super) struct PortolanHost {
    place: Place,
    runtime: Runtime,
}

impl PortolanHost {
    pub(super) fn start(place: Place) -> io::Result<(PortolanHost, Box<dyn Device>)> {
        let medium = Medium::Ethernet(place.mac());
        let (device, port) = MemoryPair::new().mediums(medium, medium).capacity(PORT_FRAMES).build()?;
        let mut config = Config::default();
        // No other host could have its address.
        config.neighbor.duplicate_address_probes = 0;
        let cidr = Cidr { addr: place.addr().into(), prefix_len: 24 };
        let runtime = Builder::new().config(config).interface(device, [cidr]).start()?;
        Ok((PortolanHost { place, runtime }, Box::new(port)))
    }
}

impl Host for PortolanHost {
    fn receive(&self, port: u16, stall: Option<Stall>, shared: Arc<Shared>) -> io::Result<Program> {
        let listener = TcpListener::bind(&self.runtime, self.place.socket_addr(port))?;
        Ok(std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(CALL_TIMEOUT))?;
            flow::receive(&stream, stall, &shared)?;
            let stats = stream.handle().stats();
            Ok(format!("{} segments in, {} out", stats.tcp.in_segs, stats.tcp.segs_sent))
        }))
    }

    fn send(&self, to: SocketAddr, shared: Arc<Shared>) -> io::Result<Program> {
        let handle = self.runtime.handle().clone();
        Ok(std::thread::spawn(move || {
            let stream = TcpStream::connect_timeout(&handle, to, CONNECT_TIMEOUT)?;
            stream.set_write_timeout(Some(CALL_TIMEOUT))?;
            flow::send(&stream, &shared)?;
            let stats = handle.stats();
            Ok(format!(
                "{} segments out, {} repeated, {} time-outs",
                stats.tcp.segs_sent, stats.tcp.retrans_segs, stats.recovery.timeouts
            ))
        }))
    }
}
