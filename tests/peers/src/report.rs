//! The figures as a table.

use std::io;
use std::time::Duration;

use crate::peers::Peer;
use crate::{Direction, Load};

/// What was measured for one load.
pub(crate) struct Row {
    pub(crate) load: Load,
    times: [Vec<Duration>; Peer::ALL.len()],
    failures: [usize; Peer::ALL.len()],
}

impl Row {
    pub(crate) fn new(load: Load) -> Row {
        Row { load, times: Default::default(), failures: Default::default() }
    }

    pub(crate) fn add(&mut self, peer: Peer, time: Duration) {
        self.times[peer as usize].push(time);
    }

    pub(crate) fn fail(&mut self, peer: Peer, error: io::Error) {
        eprintln!("{} with {}: {error}", peer.name(), self.name());
        self.failures[peer as usize] += 1;
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.failures.iter().any(|&count| count > 0)
    }

    fn name(&self) -> String {
        let Load { direction, flows, .. } = self.load;
        let direction = match direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        format!("{flows} {}, {direction}", if flows == 1 { "flow" } else { "flows" })
    }

    /// The slowest, the middle and the fastest measurement in Gbit/s; `None` if all have failed.
    fn rates(&self, peer: Peer) -> Option<[f64; 3]> {
        let bits = (self.load.flows * self.load.flow_bytes * 8) as f64;
        let mut rates: Vec<f64> =
            self.times[peer as usize].iter().map(|time| bits / time.as_secs_f64() / 1e9).collect();
        rates.sort_by(f64::total_cmp);
        Some([*rates.first()?, rates[rates.len() / 2], *rates.last()?])
    }
}

/// Prints a table with the medians, and Portolan's ratio to the faster of the others.
pub(crate) fn print(rows: &[Row]) {
    print!("| load |");
    Peer::ALL.iter().for_each(|peer| print!(" {}, Gbit/s |", peer.name()));
    println!(" Portolan / the faster of the others |");
    println!("|---|{}---|", "---|".repeat(Peer::ALL.len()));
    for row in rows {
        print!("| {} |", row.name());
        for peer in Peer::ALL {
            let failed = row.failures[peer as usize];
            match row.rates(peer) {
                Some([least, median, most]) => print!(" {median:.2} ({least:.2} to {most:.2})"),
                None => print!(" -"),
            }
            print!("{} |", if failed > 0 { format!(", {failed} failed") } else { String::new() });
        }
        let median = |peer| row.rates(peer).map_or(0.0, |[_, median, _]| median);
        let fastest = median(Peer::IpStack).max(median(Peer::NetstackSmoltcp));
        println!(" {:.2} |", median(Peer::Portolan) / fastest);
    }
}
