//! The peers that are measured.

/// The peer at the other end of the cable from the kernel's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// Another network namespace, over veth with all its offloads.
    Kernel,
    /// The same kernel with segmentation and checksum offloads off at both ends.
    KernelPlain,
    /// A program that reads and writes the TAP device without a TCP: the limit of the device.
    Limit,
    /// The same program over plain frames.
    LimitPlain,
    /// Portolan, through the calls without a copy.
    Portolan,
    /// Portolan, through `Read` and `Write` with buffers of 128 KiB.
    PortolanCopies,
    /// Portolan over plain frames, through the calls without a copy.
    PortolanPlain,
    /// Portolan with two queues and a stack for each, through the calls without a copy.
    PortolanQueues,
    /// smoltcp on a TAP device, through its own phy.
    Smoltcp,
}

pub(crate) const ALL: [Peer; 9] = [
    Peer::Kernel,
    Peer::Limit,
    Peer::Portolan,
    Peer::PortolanCopies,
    Peer::PortolanQueues,
    Peer::KernelPlain,
    Peer::LimitPlain,
    Peer::PortolanPlain,
    Peer::Smoltcp,
];

impl Peer {
    /// The name in arguments and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Kernel => "kernel",
            Peer::KernelPlain => "kernel-plain",
            Peer::Limit => "limit",
            Peer::LimitPlain => "limit-plain",
            Peer::Portolan => "portolan",
            Peer::PortolanCopies => "portolan-copies",
            Peer::PortolanPlain => "portolan-plain",
            Peer::PortolanQueues => "portolan-queues",
            Peer::Smoltcp => "smoltcp",
        }
    }

    /// The name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Peer::Kernel => "two kernels",
            Peer::KernelPlain => "two kernels, no offloads",
            Peer::Limit => "TAP limit",
            Peer::LimitPlain => "TAP limit, no offloads",
            Peer::Portolan => "Portolan",
            Peer::PortolanCopies => "Portolan, Read/Write",
            Peer::PortolanPlain => "Portolan, no offloads",
            Peer::PortolanQueues => "Portolan, two queues",
            Peer::Smoltcp => "smoltcp",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Peer, String> {
        let names = || ALL.map(Peer::name).join(", ");
        ALL.into_iter()
            .find(|peer| peer.name() == name)
            .ok_or_else(|| format!("there is no peer {name}; they are {}", names()))
    }

    /// Whether frames are sent one by one, with checksums.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Peer::KernelPlain | Peer::LimitPlain | Peer::PortolanPlain | Peer::Smoltcp)
    }

    pub(crate) fn is_portolan(self) -> bool {
        matches!(self, Peer::Portolan | Peer::PortolanCopies | Peer::PortolanPlain | Peer::PortolanQueues)
    }

    pub(crate) fn is_kernel(self) -> bool {
        matches!(self, Peer::Kernel | Peer::KernelPlain)
    }
}
