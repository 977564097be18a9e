//! [`PcapWriter`]: a device that records the frames of another device in a pcap file.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::pcap::{PcapHeader, PcapPacket};
use pcap_file::{DataLink, PcapError, TsResolution};
use portolan::{Instant, Medium, Offloads};

use super::{Device, Outgoing, Readiness, Received};
use crate::clock::Clock;
use crate::policy::PCAP_FLUSH_DELAY;
use crate::sync::{Mutex, MutexGuard};

/// The most bytes of a frame that are recorded: more than any frame has.
const SNAP_LEN: u32 = 256 << 10;

/// Records the frames of a device in both directions: those that the device took, and those that it
/// received.
///
/// The file is a pcap with nanosecond timestamps, for `tcpdump -r` and Wireshark. It is flushed at
/// the latest half a second after a frame, and when the device is dropped. An error while writing
/// is logged once and ends the recording; the device continues.
///
/// ```
/// use portolan_runtime::device::PcapWriter;
/// use portolan_runtime::{Builder, UdpSocket};
///
/// let path = std::env::temp_dir().join(format!("portolan-doc-{}.pcap", std::process::id()));
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(PcapWriter::create(&path, device)?, ["10.0.0.1/24".parse()?]).start()?;
/// UdpSocket::bind(&runtime, "0.0.0.0:0")?.send_to(b"hello", "10.0.0.2:9")?;
/// drop(runtime); // the file is complete
/// assert!(std::fs::metadata(&path)?.len() > 24); // more than the header of the file
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PcapWriter<D> {
    device: D,
    /// The recording, which other writers may share; `None` after an error.
    recording: Option<Arc<Mutex<Recording>>>,
    flush_at: Option<Instant>,
}

struct Recording {
    encoder: pcap_file::pcap::PcapWriter<SharedWriter>,
    /// The file to be flushed. The encoder writes to it, too, but gives no access to it.
    file: SharedWriter,
}

impl<D: Device> PcapWriter<D> {
    /// Records to a file, and overwrites one that exists.
    pub fn create(path: impl AsRef<Path>, device: D) -> io::Result<Self> {
        let path = path.as_ref();
        File::create(path)
            .and_then(|file| PcapWriter::new(file, device))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Records to a writer, through a buffer.
    pub fn new(writer: impl Write + Send + 'static, device: D) -> io::Result<Self> {
        let header = PcapHeader {
            snaplen: SNAP_LEN,
            datalink: match device.medium() {
                Medium::Ethernet(_) => DataLink::ETHERNET,
                Medium::Ip => DataLink::RAW,
                _ => return Err(io::ErrorKind::Unsupported.into()),
            },
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let file = SharedWriter::new(Box::new(writer));
        let encoder =
            pcap_file::pcap::PcapWriter::with_header(file.clone(), header).map_err(into_io_error)?;
        let recording = Arc::new(Mutex::new(Recording { encoder, file }));
        // A full disk is reported here, and not with the first frame.
        lock(&recording)?.file.flush()?;
        Ok(PcapWriter { device, recording: Some(recording), flush_at: None })
    }

    /// Records another device of the same medium to the same file, such as another queue of the
    /// interface.
    pub fn beside<E: Device>(&self, device: E) -> PcapWriter<E> {
        PcapWriter { device, recording: self.recording.clone(), flush_at: None }
    }

    fn record(&mut self, frame: Cow<'_, [u8]>) {
        let Some(recording) = &self.recording else { return };
        let packet = PcapPacket {
            timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            orig_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: frame,
        };
        let written = lock(recording).and_then(|mut recording| {
            recording.encoder.write_packet(&packet).map(|_| ()).map_err(into_io_error)
        });
        match written {
            Ok(()) => {
                self.flush_at.get_or_insert_with(|| Clock::now() + PCAP_FLUSH_DELAY);
            }
            Err(error) => self.stop_recording(&error),
        }
    }
}

impl<D> PcapWriter<D> {
    fn flush(&mut self) {
        self.flush_at = None;
        let Some(recording) = &self.recording else { return };
        if let Err(error) = lock(recording).and_then(|mut recording| recording.file.flush()) {
            self.stop_recording(&error);
        }
    }

    fn stop_recording(&mut self, error: &io::Error) {
        log::warn!("the recording of frames stops here: {error}");
        self.recording = None;
        self.flush_at = None;
    }
}

impl<D: Device> Device for PcapWriter<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn medium(&self) -> Medium {
        self.device.medium()
    }

    fn mtu(&self) -> usize {
        self.device.mtu()
    }

    /// The offloads of the device. So the recording shows runs of segments before they are cut, and
    /// checksums before they are completed.
    fn offloads(&self) -> Offloads {
        self.device.offloads()
    }

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.device.readiness(waker)
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while self.recording.is_some()
            && let Some(transmit) = outgoing.peek()
        {
            let frame = transmit.to_vec();
            let mut one = outgoing.at_most(1);
            self.device.transmit(&mut one)?;
            if !one.is_empty() {
                return Ok(());
            }
            self.record(Cow::Owned(frame));
        }
        self.device.transmit(outgoing)
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        let before = received.len();
        self.device.receive(received)?;
        for frame in &received.frames_mut()[before..] {
            self.record(Cow::Borrowed(&frame.bytes));
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        [self.device.deadline(), self.flush_at].into_iter().flatten().min()
    }

    fn wants_room(&self) -> bool {
        self.device.wants_room()
    }

    fn service(&mut self) -> io::Result<()> {
        if self.flush_at.is_some_and(|at| at <= Clock::now()) {
            self.flush();
        }
        self.device.service()
    }
}

impl<D> Drop for PcapWriter<D> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<D: fmt::Debug> fmt::Debug for PcapWriter<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapWriter")
            .field("device", &self.device)
            .field("recording", &self.recording.is_some())
            .finish()
    }
}

fn lock(recording: &Mutex<Recording>) -> io::Result<MutexGuard<'_, Recording>> {
    recording.lock().map_err(|_| io::Error::other("an earlier write panicked"))
}

/// A buffered writer that the encoder and its owner share. There is no contention, because one
/// thread at a time calls a device.
#[derive(Clone)]
struct SharedWriter(Arc<Mutex<BufWriter<Box<dyn Write + Send>>>>);

impl SharedWriter {
    fn new(writer: Box<dyn Write + Send>) -> Self {
        SharedWriter(Arc::new(Mutex::new(BufWriter::with_capacity(64 << 10, writer))))
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, BufWriter<Box<dyn Write + Send>>>> {
        self.0.lock().map_err(|_| io::Error::other("an earlier write panicked"))
    }
}

impl Write for SharedWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.lock()?.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock()?.flush()
    }
}

fn into_io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::single::{receive, send};
    use crate::device::{MemoryPair, Sent, memory_pair};
    use pcap_file::pcap::PcapReader;
    use portolan::{Frame, InterfaceId, Transmit};

    fn transmit(bytes: &[u8]) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(bytes.to_vec()))
    }

    /// A file in memory that outlives the recorder.
    #[derive(Clone, Default)]
    struct File(Arc<Mutex<Vec<u8>>>);

    impl Write for File {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn records(file: &File) -> (PcapHeader, Vec<Vec<u8>>) {
        let bytes = file.0.lock().unwrap().clone();
        let mut reader = PcapReader::new(&bytes[..]).unwrap();
        let mut frames = Vec::new();
        while let Some(packet) = reader.next_packet() {
            frames.push(packet.unwrap().data.into_owned());
        }
        (reader.header(), frames)
    }

    #[test]
    fn both_directions_are_recorded_and_a_refused_frame_only_when_it_is_taken() {
        let file = File::default();
        let (a, mut b) = MemoryPair::new().capacity(1).build().unwrap();
        let mut a = PcapWriter::new(file.clone(), a).unwrap();
        assert_eq!(send(&mut a, &transmit(b"first")), Sent::Taken);
        assert_eq!(send(&mut a, &transmit(b"second")), Sent::Full);
        receive(&mut b).unwrap();
        assert_eq!(send(&mut b, &transmit(b"answer")), Sent::Taken);
        assert_eq!(&receive(&mut a).unwrap().bytes[..], b"answer");
        assert_eq!(send(&mut a, &transmit(b"second")), Sent::Taken);
        drop(a);
        let (header, frames) = records(&file);
        assert_eq!(frames, [&b"first"[..], b"answer", b"second"]);
        assert_eq!(header.datalink, DataLink::ETHERNET);
        assert_eq!(header.ts_resolution, TsResolution::NanoSecond);
    }

    #[test]
    fn several_queues_are_recorded_to_one_file() {
        let file = File::default();
        let ((a, mut far_a), (b, mut far_b)) = (memory_pair().unwrap(), memory_pair().unwrap());
        let mut a = PcapWriter::new(file.clone(), a).unwrap();
        let mut b = a.beside(b);
        assert_eq!(send(&mut a, &transmit(b"one")), Sent::Taken);
        assert_eq!(send(&mut far_b, &transmit(b"two")), Sent::Taken);
        assert!(receive(&mut b).is_some());
        drop(a);
        assert_eq!(send(&mut b, &transmit(b"three")), Sent::Taken);
        drop(b);
        assert_eq!(records(&file).1, [&b"one"[..], b"two", b"three"]);
        assert!(receive(&mut far_a).is_some());
    }

    #[test]
    fn bare_ip_is_recorded_as_such() {
        let file = File::default();
        let (a, _b) = MemoryPair::new().mediums(Medium::Ip, Medium::Ip).build().unwrap();
        drop(PcapWriter::new(file.clone(), a).unwrap());
        assert_eq!(records(&file).0.datalink, DataLink::RAW);
    }

    #[test]
    fn a_quiet_recording_reaches_the_file_at_its_deadline() {
        let file = File::default();
        let (a, _b) = memory_pair().unwrap();
        let mut a = PcapWriter::new(file.clone(), a).unwrap();
        assert_eq!(a.deadline(), None);
        assert_eq!(send(&mut a, &transmit(b"one")), Sent::Taken);
        let deadline = a.deadline().unwrap();
        a.service().unwrap();
        assert!(records(&file).1.is_empty());
        std::thread::sleep(Clock::until(deadline));
        a.service().unwrap();
        assert_eq!(records(&file).1.len(), 1);
        assert_eq!(a.deadline(), None);
    }

    #[test]
    fn a_full_disk_ends_the_recording_and_not_the_device() {
        struct FullDisk(usize);
        impl Write for FullDisk {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                if self.0 < buf.len() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0 -= buf.len();
                Ok(buf.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (a, mut b) = memory_pair().unwrap();
        let mut a = PcapWriter::new(FullDisk(24), a).unwrap();
        assert_eq!(send(&mut a, &transmit(b"one")), Sent::Taken);
        a.flush();
        assert!(a.recording.is_none());
        assert_eq!(send(&mut a, &transmit(b"two")), Sent::Taken);
        assert_eq!(&receive(&mut b).unwrap().bytes[..], b"one");
        assert_eq!(&receive(&mut b).unwrap().bytes[..], b"two");
    }

    #[test]
    fn a_file_that_takes_nothing_is_refused_at_once() {
        let (a, _b) = memory_pair().unwrap();
        let error = PcapWriter::create("/dev/full", a).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let (a, _b) = memory_pair().unwrap();
        let error = PcapWriter::create("/nowhere/to/write.pcap", a).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/nowhere/to/write.pcap"));
    }
}
