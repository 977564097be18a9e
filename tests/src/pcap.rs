//! Keeps what was sent, for Wireshark.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use portolan::Medium;
use portolan::testing::Recorded;

/// Writes frames to a file in the directory for temporary files, for Wireshark; its name.
///
/// # Panics
///
/// If the file cannot be written.
pub fn keep_pcap(name: &str, medium: Medium, frames: &[Recorded]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("portolan-{name}.pcap"));
    let datalink = if medium == Medium::Ip { DataLink::RAW } else { DataLink::ETHERNET };
    let header = PcapHeader { datalink, ..PcapHeader::default() };
    let file = File::create(&path).expect("the directory for temporary files can be written");
    let mut writer = PcapWriter::with_header(file, header).expect("the file can be written");
    for Recorded { at, frame, .. } in frames {
        let packet = PcapPacket::new(Duration::from_nanos(at.as_nanos()), frame.len() as u32, frame);
        writer.write_packet(&packet).expect("the file can be written");
    }
    path
}
