//! How far apart packets came, drawn.

use plotters::prelude::*;

use crate::{contestant::Contestant, measure::Failure, result::Outcome};

/// Draws the largest number of calls that was measured.
///
/// # Errors
///
/// When plotters fails.
pub fn draw(outcome: &Outcome) -> Result<String, Failure> {
    let mut svg = String::new();
    draw_into(&mut svg, outcome).map_err(|error| Failure::Chart(error.to_string()))?;
    Ok(svg + "\n")
}

fn draw_into(svg: &mut String, outcome: &Outcome) -> Result<(), Box<dyn std::error::Error>> {
    let calls = outcome.calls().last().copied().unwrap_or_default();
    let area = SVGBackend::with_string(svg, (900, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("From one packet of a call to the next, in {calls} calls"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(FROM..TO, (SMALLEST..1.0_f64).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("ms")
        .y_desc("share of packets")
        .y_label_formatter(&|share| format!("{share:e}"))
        .draw()?;
    for who in outcome.contestants() {
        let colour = colour(who);
        let line = LineSeries::new(points(outcome, who, calls), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(who.to_string())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.9)).border_style(BLACK.mix(0.3)).draw()?;
    area.present()?;
    Ok(())
}

/// The steps of the histogram of all rounds, in tenths of a millisecond.
fn points(outcome: &Outcome, who: Contestant, calls: u32) -> Vec<(f64, f64)> {
    let mut bins = vec![0_u64; ((TO - FROM) * 10.0).round() as usize];
    let mut all = 0;
    for &(micros, packets) in outcome.runs(who, calls).iter().flat_map(|run| &run.histogram) {
        all += packets;
        let bin = ((micros as f64 / 1000.0 - FROM) * 10.0 + 1e-6).floor();
        if bin >= 0.0
            && let Some(counted) = bins.get_mut(bin as usize)
        {
            *counted += packets;
        }
    }
    let mut points = Vec::new();
    for (bin, packets) in bins.iter().enumerate() {
        let share = (*packets as f64 / (all as f64).max(1.0)).max(SMALLEST);
        let from = FROM + bin as f64 / 10.0;
        points.extend([(from, share), (from + 0.1, share)]);
    }
    points
}

fn colour(who: Contestant) -> RGBColor {
    match who {
        Contestant::Floor => RGBColor(120, 120, 120),
        Contestant::Ours => RGBColor(20, 110, 190),
        Contestant::Rival => RGBColor(210, 90, 30),
    }
}

const FROM: f64 = 10.0;
const TO: f64 = 30.0;
/// One packet in a million.
const SMALLEST: f64 = 1e-6;
