//! Stores sent packets for Wireshark.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use portolan::testing::Recorded;
use portolan::{Instant, Medium};

/// Writes frames to a pcap file in the directory for temporary files. Returns its name.
///
/// # Panics
///
/// If the file cannot be written.
pub fn keep_pcap(name: &str, medium: Medium, frames: &[Recorded]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("portolan-{name}.pcap"));
    let datalink = if medium == Medium::Ip { DataLink::RAW } else { DataLink::ETHERNET };
    write_pcap(&path, datalink, frames.iter().map(|Recorded { at, frame, .. }| (*at, &frame[..])));
    path
}

/// Writes packets with their times to a pcap file.
///
/// # Panics
///
/// If the file cannot be written.
pub(crate) fn write_pcap<'a>(
    path: &Path,
    datalink: DataLink,
    packets: impl Iterator<Item = (Instant, &'a [u8])>,
) {
    let header = PcapHeader { datalink, ..PcapHeader::default() };
    let file = BufWriter::new(File::create(path).expect("the file can be made"));
    let mut writer = PcapWriter::with_header(file, header).expect("the file can be written");
    for (at, packet) in packets {
        let packet = PcapPacket::new(Duration::from_nanos(at.as_nanos()), packet.len() as u32, packet);
        writer.write_packet(&packet).expect("the file can be written");
    }
}
