//! Every tuned constant of the runtime: what it decides, and the measurement behind its value.
//!
//! None of them affects correctness, all of them affect speed or memory. "Not measured" means that
//! there is no record of a measurement of this value against another. 0007 is
//! `docs/decisions/0007-who-drives-a-stack.md`; "wrk" is the section on needless loss probes in
//! `docs/performance.md`.
//!
//! | constant | value | decides | measured |
//! |---|---|---|---|
//! | [`DRIVER_DELAY`] | 1 ms | when the driver thread leads because nobody does | 0007 |
//! | [`MAX_WATCH_INTERVAL`] | 4 ms | how rarely the driver thread looks | 0007 |
//! | [`SHUTDOWN_WATCH_INTERVAL`] | 10 ms | how often it looks at the end | not measured |
//! | [`DELIVERY_LOOK_INTERVAL`] | 20 ms | how often a shutdown looks at all sockets | not measured |
//! | [`FORGET_INTERVAL`] | 1 ms | how often a change of the devices looks for leaders | not measured |
//! | [`LONG_IDLE`] | 200 µs | when frames count as having waited | 0007, the effect |
//! | [`DRIVER_WAKES_AFTER_WAIT`] | 16 | how often callers wake the driver thread | 0007, the effect |
//! | [`DRIVER_WAKES_AFTER_HIT`] | 64 | the same, after it was of use | 0007, the effect |
//! | [`SHORT_ABSENCE`] | 25 µs | who leads next | 0007, the effect |
//! | [`LONG_ABSENCE`] | 200 µs | who leads next, if frames are for one thread | 0007, the effect |
//! | [`MAX_ABSENCE`] | 400 µs | how much one absence counts | not measured |
//! | [`ABSENCE_SAMPLES`] | 8 | how soon the average of absences follows | not measured |
//! | [`CHANGE_SAMPLES`] | 16 | how soon the share of changes follows | not measured |
//! | [`FEW_CHANGES`] | 8 | when frames count as being for one thread | not measured |
//! | [`BURST_GAP`] | 250 µs | when sending is a burst | 0007, the effect |
//! | [`BURST_CALLS`] | 8 | when sending is a burst | not measured |
//! | [`READ_AFTER_SEND`] | 40 µs | when a call that sends reads, too | not measured |
//! | [`TRANSMIT_ROUNDS`] | 16 | batches that one call sends for others | not measured |
//! | [`BATCH_FRAMES`] | 16 | frames sent under one hold of `core` | not measured |
//! | [`BATCH_BYTES`] | 256 KiB | bytes sent under one hold of `core` | not measured |
//! | [`KEPT_FRAMES`] | 16 | frames kept for a full device | not measured |
//! | [`STALL_DELAY`] | 20 ms | when others stop to wait for a full device | not measured |
//! | [`READ_FRAMES`] | 32 | frames handed to the stack at once | not measured |
//! | [`READ_BYTES`] | 512 KiB | bytes handed to the stack at once | not measured |
//! | [`WAITING_READS`] | 16 | reads before due timers run | wrk |
//! | [`FIRST_FILLS`] | 2 | when a second frame is tried | not measured |
//! | [`MAX_FILLS`] | 64 | the same, after trying in vain | not measured |
//! | [`MAX_SKIPPED_READS`] | 64 | how rarely a leader reads before it sleeps | not measured |
//! | [`EXACT_TIMER_WITHIN`] | 1 ms | when a caller's timer is exact | not measured |
//! | [`SPIN_STEPS`] | 8 | how spinning grows from nothing | not measured |
//! | [`REMEMBERED_WAITERS`] | 8 | whom a leader that leaves may wake | not measured |
//! | [`CHUNK_RECORDS`] | 64 | unused room in the table of waiters | not measured |
//! | [`BACKLOG`] | 4096 | connections that wait for `accept` | Linux's value |
//! | [`COPY_BELOW`] | 512 | what is copied with the lock held | not measured |
//! | [`WRITE_CHUNK`] | 128 KiB | what one `write` takes | not measured |
//! | [`CHECK_ROOM_FROM`] | 16 KiB | what a task copies only if there is room | not measured |
//! | [`READ_SLICES`] | 128 | what one `read` takes | not measured |
//! | [`RELAY_CHUNK`] | 64 KiB | what a relay takes at once | not measured |
//! | [`RELAY_ROUNDS`] | 16 | when a relay lets the other direction go on | not measured |
//! | [`FIRST_DRAIN_CHECK`] | 1 ms | how soon a relay passes a reset on behind data | not measured |
//! | [`LAST_DRAIN_CHECK`] | 100 ms | the same, after data was long not acknowledged | not measured |
//! | [`SMALLEST_PIECE`] | 256 | sizes of pooled memory | not measured |
//! | [`MAX_KEPT_PIECES`] | 256 | memory that a pool keeps | not measured |
//! | [`MAX_KEPT_BYTES`] | 8 MiB | memory that a pool keeps | not measured |
//! | [`MAX_PIECES_ASKED`] | 2 | how long a pool looks for a free piece | not measured |
//! | [`INBOX_FRAMES`] | 4096 | frames that wait for another stack | not measured |
//! | [`INBOX_BYTES`] | 16 MiB | bytes that wait for another stack | not measured |
//! | [`MAX_PASSED_ON`] | 64 | frames passed on by one call | not measured |
//! | [`HOST_EVENTS`] | 256 | events of the host that one wait of a poller takes | not measured |
//! | [`PORT_DRAWS`] | 32 | attempts at a port that is free on all stacks | not measured |
//! | [`WALK_STEPS`] | 256 | how long a walk over sockets keeps the stack locked at once | 42 µs; no other value |
//! | [`MAX_CACHED_ANSWERS`] | 1024 | answers that a resolver remembers | not measured |
//! | [`MAX_CACHED_FOR`] | 86400 s | how long addresses of a name are remembered | not measured |
//! | [`MAX_NEGATIVE_CACHED_FOR`] | 3600 s | how long a name counts as missing | RFC 2308 §5 |
//! | [`PROBE_LOOK_INTERVAL`] | 100 ms | how soon a DHCP client uses an address that was probed | not measured |
//! | [`CONFLICT_LOOK_INTERVAL`] | 10 s | how soon a DHCP client notices that its address was lost | not measured |
//! | [`RECEIVE_BURST`] | 64 | frames that one call impairs | not measured |
//! | [`STREAM_BUFFER`] | 64 KiB | what a device on a stream reads or writes at once | not measured |
//! | [`HELD_DELAY`] | 5 ms | how long an impaired frame waits to be overtaken | not measured |
//! | [`PCAP_FLUSH_DELAY`] | 500 ms | when a recording is written out | not measured |

use std::time::Duration;

// Which thread leads.

/// The driver thread leads when no thread has led, and no call has read the devices, for this long.
///
/// A thread that is about to lead may have been preempted, and a second reader does not help it.
/// With 100 µs the driver thread took the lead from such threads, and lost it again at their next
/// call.
pub(crate) const DRIVER_DELAY: Duration = Duration::from_millis(1);

/// The longest interval between two checks of the driver thread while callers lead.
///
/// The interval doubles up to this value: the longer callers have led, the likelier they continue.
/// With a check every millisecond there were 1,000 checks a second, and each cost 20 µs of
/// processor time.
pub(crate) const MAX_WATCH_INTERVAL: Duration = Duration::from_millis(4);

/// How long the driver thread waits for a caller to give the lead back when the runtime ends.
///
/// The caller was woken and wakes the driver thread, so this value hardly matters.
pub(crate) const SHUTDOWN_WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// How often a shutdown looks at all sockets while it waits for the delivery of their data.
///
/// It waits for each connection beside that, so this value matters for datagrams and full devices
/// only.
pub(crate) const DELIVERY_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How often a thread that has changed the devices looks whether a leader still polls those that
/// are gone. Leaders are woken, and most say when they have looked; one that gives the lead back
/// does not.
pub(crate) const FORGET_INTERVAL: Duration = Duration::from_millis(1);

/// After an idle period of this length, frames that a caller finds count as having waited.
///
/// From then on callers that resign wake the driver thread. With that, a thread that opens and
/// accepts 100,000 connections between two runtimes takes 6 s instead of more than two minutes, and
/// a ping beside a thread that computes 300 µs for each datagram takes 22 µs instead of 215.
pub(crate) const LONG_IDLE: Duration = Duration::from_micros(200);

/// How many callers that resign wake the driver thread after frames had waited.
///
/// Few, because a thread that was preempted looks like one that computes. The effect is that of
/// [`LONG_IDLE`].
pub(crate) const DRIVER_WAKES_AFTER_WAIT: u32 = 16;

/// How many callers that resign wake the driver thread after it led for long and read frames.
pub(crate) const DRIVER_WAKES_AFTER_HIT: u32 = 64;

/// A thread that calls again within this time, on average, leads next when it was served last.
///
/// About the cost of waking another thread and waiting until it runs. Without such a limit, threads
/// that compute delay the others; if another thread always led, one busy connection beside an idle
/// `accept` would cost a hand-over for each request.
pub(crate) const SHORT_ABSENCE: Duration = Duration::from_micros(25);

/// Where nearly all frames are for one thread, that thread leads next if it calls again within this
/// time.
pub(crate) const LONG_ABSENCE: Duration = Duration::from_micros(200);

/// A longer absence counts as this, so that one exception has a limited effect.
pub(crate) const MAX_ABSENCE: Duration = Duration::from_micros(400);

/// The moving average of absences gives the newest one a weight of 1 in this many.
pub(crate) const ABSENCE_SAMPLES: u64 = 8;

/// The moving share of calls that served another thread than the call before gives the newest one a
/// weight of 1 in this many.
pub(crate) const CHANGE_SAMPLES: u32 = 16;

/// Frames are for one thread while fewer than 1 in this many calls served another than the call
/// before.
pub(crate) const FEW_CHANGES: u32 = 8;

/// Calls that transmit within this time of each other belong to one burst.
///
/// In a burst no thread leads and the calls read the devices. Before, a stream from the stack used
/// two processors: that of the sender, and that of a leader which was woken for each
/// acknowledgement.
pub(crate) const BURST_GAP: Duration = Duration::from_micros(250);

/// This many calls in a row make a burst.
pub(crate) const BURST_CALLS: u32 = 8;

/// A call that transmits reads the devices, too, when no thread leads and none has read them for
/// this long.
pub(crate) const READ_AFTER_SEND: Duration = Duration::from_micros(40);

// How much is done at once.

/// The batches that a call sends, for itself and for callers that left notes, before the leader
/// takes over: the call may have its answer already.
///
/// What one call hands in is mostly [`WRITE_CHUNK`], six batches of plain Ethernet frames, and 12
/// where a program lends 256 KiB.
pub(crate) const TRANSMIT_ROUNDS: usize = 16;

/// Frames that are taken out of the stack under one hold of the `core` lock.
pub(crate) const BATCH_FRAMES: usize = 16;

/// Bytes that are taken out of the stack under one hold of the `core` lock: meanwhile no thread
/// handles what comes in.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Frames that are kept for a full device. With more, nothing is taken out of the stack.
///
/// A stack does not say for which device its next frame is, so a device that stays full delays the
/// others.
pub(crate) const KEPT_FRAMES: usize = 16;

/// How long a device must have taken nothing until the frames for other devices are no longer kept
/// back for it. Then further frames for it are lost, as in the full queue of a network card.
pub(crate) const STALL_DELAY: Duration = Duration::from_millis(20);

/// The most frames that the stack gets at once, with the `core` lock held.
pub(crate) const READ_FRAMES: usize = 32;

/// After this many bytes no more frames are read: the peers wait for their acknowledgements.
pub(crate) const READ_BYTES: usize = 512 << 10;

/// Reads of at most [`READ_FRAMES`] from each device before timers that are due run.
///
/// 512 frames in all, about what the queue of a TAP device holds. Under `wrk` with 50 connections
/// on two busy processors, a single read left a third to a half of the needless loss probes.
pub(crate) const WAITING_READS: usize = 16;

/// Reads that found as many frames as were asked for, in a row, before more are asked for.
pub(crate) const FIRST_FILLS: u32 = 2;

/// The most of such reads, after asking for a second frame was in vain several times.
pub(crate) const MAX_FILLS: u32 = 64;

/// The most sleeps between two attempts to read a device instead of sleeping on it.
pub(crate) const MAX_SKIPPED_READS: u32 = 64;

/// A caller's timer is exact when its deadline is this near: it may be that of a paced sender.
pub(crate) const EXACT_TIMER_WITHIN: Duration = Duration::from_millis(1);

/// Spinning grows from zero to its limit in this many steps; a time shorter than one step is not
/// tried.
pub(crate) const SPIN_STEPS: u32 = 8;

/// How many of the threads that parked last are remembered. Their memory is still in a cache, so a
/// leader that leaves asks one of them to lead.
pub(crate) const REMEMBERED_WAITERS: usize = 8;

/// Records of waiters are allocated this many at once.
pub(crate) const CHUNK_RECORDS: usize = 64;

// Sockets.

/// The connections that may wait for `accept`: Linux's default `somaxconn`.
pub(crate) const BACKLOG: usize = 4096;

/// Data shorter than this is copied with the `core` lock held, which is cheaper than the allocation
/// that would avoid it.
pub(crate) const COPY_BELOW: usize = 512;

/// The most bytes that one `write` takes. They are copied before the stack says how many it takes.
pub(crate) const WRITE_CHUNK: usize = 128 << 10;

/// A task that writes this much, or more, first asks whether there is room for a part of it. The
/// question takes the `core` lock once more, which costs as much as copying a few KiB.
pub(crate) const CHECK_ROOM_FROM: usize = 16 << 10;

/// Slices that one `read` takes at most, with the `core` lock held.
pub(crate) const READ_SLICES: usize = 128;

// Relays.

/// The most bytes that a relay takes from one stream before it sends them on the other.
pub(crate) const RELAY_CHUNK: usize = 64 << 10;

/// How often a relay does that in one direction before it looks at the other.
pub(crate) const RELAY_ROUNDS: usize = 16;

/// How soon a relay that has a reset to pass on first looks whether all data before it was
/// acknowledged. The time doubles with each look.
pub(crate) const FIRST_DRAIN_CHECK: Duration = Duration::from_millis(1);

/// The longest time between two such looks.
pub(crate) const LAST_DRAIN_CHECK: Duration = Duration::from_millis(100);

// Reusable memory.

/// The smallest piece that a pool gives out, in bytes.
pub(crate) const SMALLEST_PIECE: usize = 256;

/// Pieces of one size that a pool keeps.
pub(crate) const MAX_KEPT_PIECES: usize = 256;

/// Bytes in pieces of one size that a pool keeps.
pub(crate) const MAX_KEPT_BYTES: usize = 8 << 20;

/// How many pieces a pool finds still in use before it allocates a new one.
pub(crate) const MAX_PIECES_ASKED: usize = 2;

// Several stacks.

/// The most frames that wait for another stack. Later ones are lost, as in the queue of a network
/// card.
pub(crate) const INBOX_FRAMES: usize = 4096;

/// The most bytes that wait for another stack.
pub(crate) const INBOX_BYTES: usize = 16 << 20;

/// Frames for other stacks that one call passes on at most.
pub(crate) const MAX_PASSED_ON: usize = 64;

/// The most events of the host's descriptors that one wait of a poller takes. Memory for so many is
/// allocated for each wait that looks.
#[cfg_attr(
    any(portolan_portable, not(target_os = "linux")),
    expect(dead_code, reason = "without epoll a poller takes no descriptors of the host")
)]
pub(crate) const HOST_EVENTS: usize = 256;

/// How often a listener draws a port that turns out to be in use on another stack.
pub(crate) const PORT_DRAWS: usize = 32;

/// The steps of a walk over sockets while a stack is locked.
pub(crate) const WALK_STEPS: usize = 256;

// Names.

/// The most answers that a resolver remembers, one for each name and kind. With long names and many
/// addresses they take about a megabyte.
#[cfg(feature = "resolver")]
pub(crate) const MAX_CACHED_ANSWERS: usize = 1024;

/// How long the addresses of a name are remembered at most, whatever the answer says.
#[cfg(feature = "resolver")]
pub(crate) const MAX_CACHED_FOR: Duration = Duration::from_secs(86400);

/// The same for the answer that a name has no address. RFC 2308 §5 recommends one to three hours.
#[cfg(feature = "resolver")]
pub(crate) const MAX_NEGATIVE_CACHED_FOR: Duration = Duration::from_secs(3600);

// DHCP.

/// How often a DHCP client looks whether the stack has finished to probe an address, which takes
/// one to three seconds (RFC 5227).
#[cfg(feature = "dhcp")]
pub(crate) const PROBE_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often a DHCP client looks whether the stack has lost its address to another host since.
#[cfg(feature = "dhcp")]
pub(crate) const CONFLICT_LOOK_INTERVAL: Duration = Duration::from_secs(10);

// Devices.

/// Frames that one call of the fault injector takes from the device in it.
pub(crate) const RECEIVE_BURST: usize = 64;

/// Bytes that a device on a stream socket reads or writes with one call, or more if a frame is
/// longer.
#[cfg(unix)]
pub(crate) const STREAM_BUFFER: usize = 64 << 10;

/// How long a frame that the fault injector reorders waits to be overtaken.
pub(crate) const HELD_DELAY: Duration = Duration::from_millis(5);

/// A recording is written out at the latest this long after a frame.
pub(crate) const PCAP_FLUSH_DELAY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Constants of other files that are not tuned: an RFC, an operating system, a file format or
    /// the arithmetic determines the value, or every value has the same effect.
    const NOT_TUNED: [&str; 80] = [
        "ACCEPT_RETRY_DELAY",
        "ALL",
        "ANY_PORT",
        "ASKED_FOR",
        "ATTEMPT_DELAY",
        "BOOTREPLY",
        "CONFLICT_DELAY",
        "DATA_VALID",
        "DNS",
        "DNS_PORT",
        "DOUBLED_BITS",
        "ECHO_HEADER_LEN",
        "EDNS_PAYLOAD_BYTES",
        "ETHERNET_LEN",
        "FIRST_TIMEOUT",
        "GLOBAL",
        "GSO_ECN",
        "GSO_TCPV4",
        "GSO_TCPV6",
        "GSO_UDP_L4",
        "HEADER_BYTES",
        "HOP_LIMIT",
        "ICMPV4_ECHO_REQUEST",
        "ICMPV6_ECHO_REQUEST",
        "INFINITE_SECS",
        "JITTER",
        "LARGEST_MTU",
        "LAST_TIMEOUT",
        "LENGTH_LEN",
        "LINK_LOCAL",
        "LONG_WAIT",
        "MAGIC",
        "MAX_ATTEMPTS",
        "MAX_DATAGRAM_BYTES",
        "MAX_DNS_SERVERS",
        "MAX_DOUBLED",
        "MAX_EVENTS",
        "MAX_HEADERS",
        "MAX_LABEL_BYTES",
        "MAX_MESSAGES",
        "MAX_MESSAGE_BYTES",
        "MAX_NAMED",
        "MAX_NAME_BYTES",
        "MAX_NDOTS",
        "MAX_REBOOT_REQUESTS",
        "MAX_RECEIVED_BYTES",
        "MAX_REQUESTS",
        "MAX_ROUTES",
        "MAX_RUN",
        "MAX_SEARCH",
        "MAX_SERVERS",
        "MAX_SLICES",
        "MAX_TIMEOUT",
        "NEEDS_CSUM",
        "OPTION_CLASSLESS_ROUTES",
        "OPTION_DNS_SERVERS",
        "OPTION_DOMAIN",
        "OPTION_LEASE_TIME",
        "OPTION_MASK",
        "OPTION_MESSAGE_TYPE",
        "OPTION_MTU",
        "OPTION_REBIND_TIME",
        "OPTION_RENEW_TIME",
        "OPTION_ROUTERS",
        "OPTION_SERVER",
        "POLICIES",
        "QUESTION_BYTES",
        "RECORD_BYTES",
        "REFUSAL_DELAY",
        "RENEW_INTERVAL",
        "RESOLUTION_DELAY",
        "RUN_DATAGRAMS",
        "SHORTEST_LEASE_SECS",
        "SIOCOUTQ",
        "SITE_LOCAL",
        "SMALLEST_DHCP_MTU",
        "SMALLEST_IPV6_MTU",
        "SMALLEST_MTU",
        "SNAP_LEN",
        "UNIX_STACK",
    ];

    /// The names of the constants that a file defines, without those of its tests.
    fn constants(source: &str) -> Vec<&str> {
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().map(str::trim);
        let constants =
            lines.filter_map(|line| line.trim_start_matches("pub(crate) ").strip_prefix("const "));
        let is_name =
            |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let numbers =
            constants.filter_map(|line| line.split_once(": ")).filter(|(_, rest)| !rest.starts_with('&'));
        numbers.map(|(name, _)| name).filter(is_name).collect()
    }

    fn sources(dir: &Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn no_other_file_has_a_tuned_constant() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        for path in sources(&dir) {
            let is_test = path.ends_with("tests.rs");
            if is_test || path.ends_with("policy.rs") {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            found.extend(constants(&source).into_iter().map(str::to_owned));
        }
        found.sort();
        found.dedup();
        assert_eq!(found, NOT_TUNED);
    }

    /// A value as the table writes it.
    fn shown(value: &str) -> String {
        let unit = |prefix: &str, unit: &str| {
            let number = value.strip_prefix(prefix)?.trim_end_matches(')');
            Some(format!("{number} {unit}"))
        };
        let shifted = |suffix: &str, unit: &str| Some(format!("{} {unit}", value.strip_suffix(suffix)?));
        unit("Duration::from_micros(", "µs")
            .or_else(|| unit("Duration::from_millis(", "ms"))
            .or_else(|| unit("Duration::from_secs(", "s"))
            .or_else(|| shifted(" << 10", "KiB"))
            .or_else(|| shifted(" << 20", "MiB"))
            .unwrap_or_else(|| value.to_owned())
    }

    #[test]
    fn the_table_has_every_constant_with_its_value() {
        let source = include_str!("policy.rs");
        let constants: Vec<String> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub(crate) const "))
            .map(|line| {
                let (name, rest) = line.split_once(": ").unwrap();
                let value = rest.split_once(" = ").unwrap().1.trim_end_matches(';');
                format!("//! | [`{name}`] | {} |", shown(value))
            })
            .collect();
        let rows: Vec<&str> = source.lines().filter(|line| line.starts_with("//! | [`")).collect();
        assert!(!constants.is_empty());
        assert_eq!(rows.len(), constants.len());
        for (row, constant) in rows.iter().zip(&constants) {
            assert!(row.starts_with(constant.as_str()), "{row}\n{constant}");
            assert!(row.split(" | ").count() == 5 && row.ends_with(" |"), "{row}");
        }
    }
}
