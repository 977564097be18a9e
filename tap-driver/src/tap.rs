//! [`Tap`]: a TAP device that a runtime can drive.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Waker;

use portolan::{Cidr, Frame, MacAddr, Medium, Offloads, Transmit};
use portolan_runtime::device::{
    Device, Outgoing, Readiness, ReceiveBuffer, Received, Sent, virtio, write_vectored,
};

use crate::Error;
use crate::error::refused_address;
use crate::limits::{
    ETHERNET_HEADER_LEN, MAX_JOINED_LEN, MAX_MTU, MAX_NAME_LEN, MAX_QUEUES, MIN_IPV6_MTU, MIN_MTU,
    OVERSIZE_LEN,
};
use crate::mac::derive_mac;
use crate::netlink::Netlink;
use crate::packet::PacketDevice;
use crate::tun::{self, Layer, Queues};
use crate::veth::{VethPair, VethSettings};

/// The default name of a device; the kernel replaces `%d` by a number.
pub const DEFAULT_NAME: &str = "portolan%d";

/// The number of frames that the kernel queues for us to read. Its default of 500 is too small for
/// the SYNs of a thousand clients that connect at once; a SYN without room is lost, and
/// retransmitted a second later.
const QUEUE_LEN: u32 = 4000;

const EBADFD: i32 = 77;
const ENODEV: i32 = 19;
/// The error of an ioctl if the file is not a TUN device.
const ENOTTY: i32 = 25;

/// The settings of a TAP device to open.
///
/// ```no_run
/// use portolan_tap::TapBuilder;
///
/// let tap = TapBuilder::new()
///     .name("portolan0")
///     .host_address("10.0.0.1/24".parse()?)
///     .open()?;
/// println!("the kernel's side is {} with {}", tap.name(), tap.host_mac());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TapBuilder {
    layer: Layer,
    name: String,
    mac: Option<MacAddr>,
    mtu: usize,
    host_addresses: Vec<Cidr>,
    offload: Offload,
}

/// How a TAP device exchanges frames with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offload {
    /// Runs of segments in one piece and incomplete checksums, where the kernel supports them; most
    /// of the time it then does without segmenting and checksumming. On a kernel without this
    /// support it is the same as [`Off`](Offload::Off).
    #[default]
    Auto,
    /// Each packet as it would be on a wire.
    Off,
}

impl TapBuilder {
    /// Settings for a device with a free name, `portolan0` or the next number, and an MTU of 1,500.
    pub fn new() -> Self {
        TapBuilder {
            layer: Layer::Ethernet,
            name: DEFAULT_NAME.to_owned(),
            mac: None,
            mtu: 1500,
            host_addresses: Vec::new(),
            offload: Offload::default(),
        }
    }

    /// Makes it a TUN device, which carries IP packets without Ethernet headers: for proxies and
    /// VPNs, to which the kernel routes packets for any address.
    pub fn tun(mut self) -> Self {
        self.layer = Layer::Ip;
        self
    }

    /// Sets the name of the interface: 1 to 15 bytes. `%d` in it is replaced by the lowest free
    /// number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the MAC address of the stack's side; a TUN device has none. By default a locally
    /// administered address is derived from the name and the kernel's addresses, the same each
    /// time.
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets the size of the largest IP packet in bytes, for both sides.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Adds an address of the kernel's side.
    pub fn host_address(mut self, cidr: Cidr) -> Self {
        self.host_addresses.push(cidr);
        self
    }

    /// Sets whether runs of segments and incomplete checksums are exchanged with the kernel.
    /// [`Tap::offloads`] tells the result.
    pub fn offload(mut self, offload: Offload) -> Self {
        self.offload = offload;
        self
    }

    /// Makes the device, gives the kernel's side its MTU and addresses, and brings it up.
    ///
    /// Needs CAP_NET_ADMIN in the network namespace, which [`isolate`](crate::isolate) gives.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After an error no device remains.
    pub fn open(self) -> Result<Tap, Error> {
        let (first, _) = self.open_all(1)?;
        Ok(first)
    }

    /// Like [`open`](TapBuilder::open), for a device with several queues: one interface with this
    /// many devices on it, each of which sends and receives by itself. The kernel delivers a flow
    /// to the queue that its answers are sent to, as long as it does not pause for more than three
    /// seconds; otherwise it chooses a queue by a hash. The interface exists until the last of the
    /// devices is dropped.
    ///
    /// They are for
    /// [`Builder::interface_with_queues`](portolan_runtime::Builder::interface_with_queues).
    ///
    /// # Errors
    ///
    /// See [`Error`]. After an error no device remains.
    pub fn open_queues(self, queues: usize) -> Result<Vec<Tap>, Error> {
        check_queues(queues)?;
        let (first, others) = self.open_all(queues)?;
        Ok([first].into_iter().chain(others).collect())
    }

    /// Makes a veth pair in place of a TAP device, for containers without `/dev/net/tun`, and opens
    /// the stack's end with a packet socket. The kernel's end has the settings of the kernel's side
    /// of the TAP device, and its name; the name of the other end is that with `-s` at its end.
    /// Both are removed with the device. [`offload`](TapBuilder::offload) has no effect: there are
    /// always offloads.
    ///
    /// Needs CAP_NET_ADMIN and CAP_NET_RAW in the network namespace, which
    /// [`isolate`](crate::isolate) gives.
    ///
    /// ```no_run
    /// use portolan_tap::{Error, TapBuilder};
    ///
    /// let settings = TapBuilder::new().host_address("10.0.0.1/24".parse()?);
    /// match settings.clone().open() {
    ///     Ok(tap) => println!("{} is a TAP device", tap.name()),
    ///     Err(Error::NoTunDevice(_) | Error::TunForbidden(_)) => {
    ///         let veth = settings.open_veth()?;
    ///         println!("{} is one end of a veth pair", veth.name());
    ///     }
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Error`]. [`Error::Io`] with `Unsupported` for the settings of a TUN device: a veth
    /// pair carries Ethernet frames. After an error no pair remains.
    pub fn open_veth(self) -> Result<PacketDevice, Error> {
        if self.layer == Layer::Ip {
            let source = io::ErrorKind::Unsupported.into();
            return Err(Error::Io { doing: "make a veth pair without Ethernet headers".into(), source });
        }
        check_name(&self.name)?;
        self.check_mtu()?;
        let mut netlink =
            Netlink::open().map_err(|source| Error::Io { doing: "open a netlink socket".into(), source })?;
        let settings = VethSettings {
            name: &self.name,
            mac: self.mac,
            mtu: u32::try_from(self.mtu).unwrap_or(u32::MAX),
            host_addresses: &self.host_addresses,
        };
        let (pair, end, mac) = VethPair::make(&mut netlink, &settings)?;
        Ok(PacketDevice::open(&end, mac)?.at_pair(pair))
    }

    fn open_all(self, queues: usize) -> Result<(Tap, Vec<Tap>), Error> {
        check_name(&self.name)?;
        self.check_mtu()?;
        let mut netlink =
            Netlink::open().map_err(|source| Error::Io { doing: "open a netlink socket".into(), source })?;
        let existing = netlink
            .link(&self.name)
            .map_err(|source| Error::Io { doing: format!("ask for the interface {}", self.name), source })?;
        if let Some(link) = existing {
            return Err(Error::NameTaken { name: self.name, is_tun: link.is_tun });
        }
        let Created { fd, name, offloads } = create(&self.name, self.layer, self.offload, queues)?;
        let others = (1..queues).map(|_| tun::add_queue(&name, self.layer, offloads.is_some()));
        let others = others
            .collect::<io::Result<Vec<OwnedFd>>>()
            .map_err(|source| Error::Io { doing: format!("give {name} {queues} queues"), source })?;
        let link = netlink
            .link(&name)
            .and_then(|link| link.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|source| Error::Io { doing: format!("find the new interface {name}"), source })?;
        let host_mac = link.mac.unwrap_or(MacAddr([0; 6]));
        self.configure(&mut netlink, link.index, &name)?;
        let mac = self.mac.unwrap_or_else(|| derive_mac(&name, &self.host_addresses, host_mac));
        let mtu = self.mtu;
        let number = if queues == 1 { String::new() } else { format!(", {queues} queues") };
        let medium = match self.layer {
            Layer::Ethernet => Medium::Ethernet(mac),
            Layer::Ip => Medium::Ip,
        };
        let macs = match self.layer {
            Layer::Ethernet => format!("kernel {host_mac}, stack {mac}"),
            Layer::Ip => "IP packets".into(),
        };
        log::info!("{name}: up, MTU {mtu}, {macs}, {}{number}", describe(offloads));
        let packet_len = if offloads.is_some() { MAX_JOINED_LEN } else { mtu };
        let tap = |fd| Tap {
            buffer: ReceiveBuffer::new(packet_len + ETHERNET_HEADER_LEN + OVERSIZE_LEN),
            fd,
            offloads,
            name: name.clone(),
            medium,
            mtu,
            host_mac,
            index: link.index,
        };
        Ok((tap(fd), others.into_iter().map(tap).collect()))
    }

    fn check_mtu(&self) -> Result<(), Error> {
        let ipv6 = self.host_addresses.iter().any(|cidr| cidr.addr.is_ipv6());
        check_mtu(self.mtu, ipv6)
    }

    fn configure(&self, netlink: &mut Netlink, index: u32, name: &str) -> Result<(), Error> {
        let mtu = u32::try_from(self.mtu).unwrap_or(u32::MAX);
        netlink
            .set_sizes(index, mtu, QUEUE_LEN)
            .map_err(|source| Error::changing(format!("set the MTU of {name} to {mtu}"), source))?;
        for &cidr in &self.host_addresses {
            netlink.add_address(index, cidr).map_err(|source| refused_address(name, cidr, source))?;
        }
        netlink.set_up(index).map_err(|source| Error::changing(format!("bring {name} up"), source))
    }
}

impl Default for TapBuilder {
    fn default() -> Self {
        TapBuilder::new()
    }
}

/// A TAP device, or one queue of it: an Ethernet link with the kernel at the other end; or a TUN
/// device ([`TapBuilder::tun`]), a link without Ethernet.
///
/// The device exists as long as this value, or as long as one of its queues: when it is dropped, or
/// the process ends in any way, the kernel removes the interface, its addresses and routes.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    /// The kernel's offloads, if frames have a virtio-net header.
    offloads: Option<Offloads>,
    buffer: ReceiveBuffer,
    name: String,
    medium: Medium,
    mtu: usize,
    host_mac: MacAddr,
    index: u32,
}

impl Tap {
    /// The name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The MAC address of the stack's side. All zero for a TUN device.
    pub fn mac(&self) -> MacAddr {
        if let Medium::Ethernet(mac) = self.medium { mac } else { MacAddr([0; 6]) }
    }

    /// The MAC address of the kernel's side. All zero for a TUN device.
    pub fn host_mac(&self) -> MacAddr {
        self.host_mac
    }

    /// The kernel's index of the interface (its IPv6 scope id).
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What the kernel does for frames that the stack sends.
    pub fn offloads(&self) -> Offloads {
        self.offloads.unwrap_or(Offloads::NONE)
    }

    /// Whether the error means that the kernel has removed the device (`ip link delete`, or the end
    /// of its namespace), so that nothing can be sent or received any more. Every other error
    /// concerns one frame.
    fn is_gone(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(EBADFD | ENODEV))
    }

    fn gone(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::NotConnected,
            format!("{}: the interface was removed from outside; start again to make a new one", self.name),
        )
    }

    fn send(&self, transmit: &Transmit) -> io::Result<Sent> {
        let written = match self.offloads {
            Some(_) => write_vectored(&self.fd, &virtio::header_for(transmit), transmit),
            None => write_vectored(&self.fd, &[], transmit),
        };
        match written {
            Ok(sent) => Ok(sent),
            Err(error) if Tap::is_gone(&error) => Err(self.gone()),
            // EIO while the kernel's side is down, ENOBUFS or ENOMEM when memory is short, EINVAL
            // for a frame that it considers too short. Networks may lose frames, so the frame is
            // dropped.
            Err(error) => {
                log::debug!("{}: a frame of {} bytes is lost: {error}", self.name, transmit.len());
                Ok(Sent::Taken)
            }
        }
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        match self.buffer.read_frame(|room| Ok(rustix::io::read(&self.fd, room)?)) {
            Ok(Some(bytes)) if self.offloads.is_some() => Ok(virtio::frame_from(bytes)),
            Ok(bytes) => Ok(bytes.map(Frame::new)),
            Err(error) if Tap::is_gone(&error) => Err(self.gone()),
            // The frame that the error is about has left the queue; the next call gets the next
            // frame.
            Err(error) => {
                log::debug!("{}: a frame could not be read: {error}", self.name);
                Ok(None)
            }
        }
    }
}

impl Device for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn medium(&self) -> Medium {
        self.medium
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        Tap::offloads(self)
    }

    fn readiness(&mut self, _: &Waker) -> Readiness<'_> {
        Readiness::fd(self.fd.as_fd())
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        outgoing.send_each(|transmit| self.send(transmit))
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        received.fill_with(|| self.recv())
    }
}

/// Checks an MTU against the needs of the addresses.
///
/// # Errors
///
/// [`Error::InvalidMtu`].
pub fn check_mtu(mtu: usize, with_ipv6: bool) -> Result<(), Error> {
    let smallest = if with_ipv6 { MIN_IPV6_MTU } else { MIN_MTU };
    match (smallest..=MAX_MTU).contains(&mtu) {
        true => Ok(()),
        false => Err(Error::InvalidMtu { mtu, smallest }),
    }
}

/// Checks the number of queues of a device.
///
/// # Errors
///
/// [`Error::InvalidQueues`].
pub fn check_queues(queues: usize) -> Result<(), Error> {
    match (1..=MAX_QUEUES).contains(&queues) {
        true => Ok(()),
        false => Err(Error::InvalidQueues { queues }),
    }
}

/// The addresses of the kernel's interfaces in this network namespace, each with the name of its
/// interface.
///
/// # Errors
///
/// [`Error::Io`] if the kernel does not answer.
pub fn kernel_addresses() -> Result<Vec<(String, Cidr)>, Error> {
    let list = || -> io::Result<Vec<(String, Cidr)>> {
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let name_of = |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        let addresses = netlink.addresses()?;
        Ok(addresses.into_iter().filter_map(|(index, cidr)| Some((name_of(index)?, cidr))).collect())
    };
    list().map_err(|source| Error::Io { doing: "list the addresses of this host".into(), source })
}

/// What the kernel created.
struct Created {
    /// The descriptor of the device, which is non-blocking.
    fd: OwnedFd,
    name: String,
    /// The kernel's offloads; `None` for plain frames.
    offloads: Option<Offloads>,
}

/// Creates the device, with its only queue or the first of several.
fn create(name: &str, layer: Layer, offload: Offload, queues: usize) -> Result<Created, Error> {
    let several = if queues > 1 { Queues::Several } else { Queues::One };
    // EPERM can come from opening the file or from creating a device, so try only to open the file
    // first.
    tun::check_access().map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::TunForbidden(source),
        _ => Error::NoTunDevice(source),
    })?;
    if offload == Offload::Auto {
        match tun::create(name, layer, several) {
            Ok((fd, name, offloads)) => return Ok(Created { fd, name, offloads: Some(offloads) }),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                log::info!("this kernel's devices take plain frames only");
            }
            Err(error) => return Err(refused_device(name, error)),
        }
    }
    let created = match several {
        Queues::One => tun::create_plain(name, layer),
        Queues::Several => tun::create_plain_queue(name, layer),
    };
    let (fd, name) = created.map_err(|error| refused_device(name, error))?;
    Ok(Created { fd, name, offloads: None })
}

fn refused_device(name: &str, source: io::Error) -> Error {
    // Only the kernel knows the number for `%d`, and only after it has created the device.
    let is_pattern = name.contains('%');
    let doing =
        if is_pattern { "create a TAP device".into() } else { format!("create the TAP device {name}") };
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NotPermitted { doing },
        _ if source.raw_os_error() == Some(ENOTTY) => Error::NoTunDevice(source),
        // EBUSY: another process has a TAP device of that name. EINVAL: the interface is not a TAP
        // device.
        kind @ (io::ErrorKind::ResourceBusy | io::ErrorKind::InvalidInput) if !is_pattern => {
            Error::NameTaken { name: name.to_owned(), is_tun: kind == io::ErrorKind::ResourceBusy }
        }
        _ => Error::Io { doing, source },
    }
}

/// The kernel's offloads, for the log.
fn describe(offloads: Option<Offloads>) -> String {
    offloads.map_or_else(|| "plain frames".to_owned(), |offloads| format!("offloads: {offloads}"))
}

/// Checks that the kernel accepts this as the name of an interface (`dev_valid_name`), with at most
/// one `%d`.
///
/// # Errors
///
/// [`Error::InvalidName`].
pub fn check_name(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_LEN {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "it is the name of a directory"
    } else if name.bytes().any(|byte| matches!(byte, b'/' | b':') || byte <= b' ' || byte == 0x7f) {
        "it has a slash, a colon, a space or a control character"
    } else if name.matches('%').count() > 1 || (name.contains('%') && !name.contains("%d")) {
        "a percent sign stands only in one %d, which becomes a number"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { name: name.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for name in ["", "sixteen-bytes-ab", ".", "..", "a/b", "a:b", "a b", "a\n", "tap%s", "%d%d", "50%"] {
            assert!(matches!(check_name(name), Err(Error::InvalidName { .. })), "{name:?}");
        }
        for name in ["tap0", "fifteen-bytes-a", "portolan%d", "ü"] {
            check_name(name).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn the_mtu_is_bounded_by_the_addresses() {
        for (mtu, ipv6, good) in [
            (576, false, true),
            (575, false, false),
            (1279, true, false),
            (1280, true, true),
            (65521, true, true),
            (65522, false, false),
            (0, false, false),
        ] {
            assert_eq!(check_mtu(mtu, ipv6).is_ok(), good, "{mtu} {ipv6}");
        }
    }

    #[test]
    fn the_number_of_queues_is_the_kernels() {
        for (queues, good) in [(0, false), (1, true), (256, true), (257, false)] {
            assert_eq!(check_queues(queues).is_ok(), good, "{queues}");
        }
    }

    #[test]
    fn a_device_that_is_refused_is_named_as_it_was_asked_for() {
        let refused = |name: &str, errno: i32| refused_device(name, io::Error::from_raw_os_error(errno));
        let text = |name: &str, errno: i32| refused(name, errno).to_string();
        assert!(matches!(refused(DEFAULT_NAME, ENOTTY), Error::NoTunDevice(_)));
        assert!(text(DEFAULT_NAME, 1).starts_with("no permission to create a TAP device: "));
        assert!(text("tap7", 1).starts_with("no permission to create the TAP device tap7: "));
        assert_eq!(text(DEFAULT_NAME, 22), "cannot create a TAP device: Invalid argument (os error 22)");
        assert_eq!(
            text("tap7", 12),
            "cannot create the TAP device tap7: Cannot allocate memory (os error 12)"
        );
        assert!(text("tap7", 16).contains("remove it with `ip link delete tap7` if nobody uses it"));
        assert!(!text("eth0", 22).contains("ip link delete"), "it is no TAP device");
    }

    #[test]
    fn a_veth_pair_carries_ethernet_frames_only() {
        let refused = TapBuilder::new().tun().open_veth();
        let text = refused.map(|device| device.name().to_owned()).map_err(|error| error.to_string());
        assert_eq!(text, Err("cannot make a veth pair without Ethernet headers: unsupported".into()));
    }

    #[test]
    fn only_a_removed_device_is_gone() {
        assert!(Tap::is_gone(&io::Error::from_raw_os_error(EBADFD)));
        for errno in [5, 12, 22, 105] {
            assert!(!Tap::is_gone(&io::Error::from_raw_os_error(errno)));
        }
    }
}
