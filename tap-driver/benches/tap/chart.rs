//! The bar chart: medians, with a panel for each of the most important figures.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::peers::{self, Peer};
use crate::report::Results;

struct Panel {
    figure: &'static str,
    title: &'static str,
    /// The figure is divided by this for the number beside a bar.
    divisor: f64,
    digits: usize,
}

const PANELS: [Panel; 6] = [
    Panel { figure: "to-1", title: "Bulk towards the stack, Gbit/s", divisor: 1.0, digits: 1 },
    Panel { figure: "from-1", title: "Bulk from the stack, Gbit/s", divisor: 1.0, digits: 1 },
    Panel {
        figure: "latency/p50",
        title: "TCP, 1 byte there and back, p50, µs (less is better)",
        divisor: 1.0,
        digits: 1,
    },
    Panel { figure: "latency/p99", title: "The same, p99, µs (less is better)", divisor: 1.0, digits: 1 },
    Panel { figure: "udp-rate", title: "UDP echo, 64 bytes, thousands a second", divisor: 1e3, digits: 0 },
    Panel {
        figure: "connect-byte",
        title: "Connect, 1 byte, close: thousands a second",
        divisor: 1e3,
        digits: 1,
    },
];

const WIDTH: u32 = 1000;
const MARGIN: i32 = 16;
const TITLE_HEIGHT: i32 = 28;
const BAR_HEIGHT: i32 = 16;
const BAR_STEP: i32 = 21;
const LABEL_WIDTH: i32 = 170;
/// The room for the number behind the longest bar.
const NUMBER_WIDTH: i32 = 50;
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a chart of the available results.
pub(crate) fn draw(path: &Path, results: &Results) -> Result<(), Box<dyn Error>> {
    let bars = |panel: &Panel| -> Vec<(Peer, f64)> {
        let median = |peer: Peer| Some((peer, results.median(panel.figure, peer)? / panel.divisor));
        peers::ALL.into_iter().filter_map(median).collect()
    };
    let panels: Vec<(&Panel, Vec<(Peer, f64)>)> =
        PANELS.iter().map(|panel| (panel, bars(panel))).filter(|(_, bars)| !bars.is_empty()).collect();
    let rows: Vec<_> = panels.chunks(2).collect();
    let height_of = |row: &[(&Panel, Vec<(Peer, f64)>)]| {
        let bars = row.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0) as i32;
        TITLE_HEIGHT + bars * BAR_STEP + MARGIN
    };
    let height = MARGIN + rows.iter().map(|row| height_of(row)).sum::<i32>();
    let root = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut top = MARGIN;
    for row in rows {
        let width = (WIDTH as i32 - MARGIN) / 2;
        for ((panel, bars), left) in row.iter().zip([MARGIN, MARGIN + width]) {
            draw_panel(&root, panel, bars, (left, top), width - MARGIN)?;
        }
        top += height_of(row);
    }
    root.present()?;
    Ok(())
}

fn draw_panel(
    root: &Area<'_>,
    panel: &Panel,
    bars: &[(Peer, f64)],
    (left, top): (i32, i32),
    width: i32,
) -> Result<(), Box<dyn Error>> {
    let bold = FontDesc::new(FontFamily::Name(FONT), 17.0, FontStyle::Bold);
    root.draw(&Text::new(panel.title, (left, top), bold))?;
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(width - LABEL_WIDTH - NUMBER_WIDTH);
    let at = |horizontal| {
        TextStyle::from((FONT, 15.0).into_font()).pos(Pos::new(horizontal, VPos::Center)).color(&BLACK)
    };
    let begin = left + LABEL_WIDTH;
    for (index, (peer, value)) in bars.iter().enumerate() {
        let bar_top = top + TITLE_HEIGHT + index as i32 * BAR_STEP;
        let middle = bar_top + BAR_HEIGHT / 2;
        let end = begin + (value / most * room).round().max(1.0) as i32;
        root.draw(&Text::new(peer.title(), (begin - 6, middle), at(HPos::Right)))?;
        root.draw(&Rectangle::new([(begin, bar_top), (end, bar_top + BAR_HEIGHT)], color(*peer).filled()))?;
        let digits = panel.digits;
        root.draw(&Text::new(format!("{value:.digits$}"), (end + 6, middle), at(HPos::Left)))?;
    }
    Ok(())
}

fn color(peer: Peer) -> RGBColor {
    match peer {
        Peer::Portolan | Peer::PortolanCopies | Peer::PortolanPlain | Peer::PortolanQueues => {
            RGBColor(0x1f, 0x6f, 0xb4)
        }
        Peer::Limit | Peer::LimitPlain => RGBColor(0xb8, 0xb8, 0xb8),
        Peer::Kernel | Peer::KernelPlain => RGBColor(0x7a, 0x7a, 0x7a),
        Peer::Smoltcp => RGBColor(0xd9, 0x8b, 0x3a),
    }
}
