//! Finds where the original begins in what was heard.

use super::fft;

/// Finds by how many samples per channel `heard` is later than `original`, both stereo, interleaved.
///
/// First roughly, over all lags, at 6 kHz; then to the sample, near the best lag.
pub(super) fn offset(original: &[f32], heard: &[f32]) -> i64 {
    let original_side = side_is_louder(original);
    let (probe, start) = probe(&thin(original, original_side));
    let heard_thin = thin(heard, original_side);
    let heard_thin = &heard_thin[..heard_thin.len().min(SEARCHED)];
    if probe.is_empty() || heard_thin.is_empty() {
        return 0;
    }
    let rough = best_lag(&probe, heard_thin) - start as i64;
    refine(original, heard, rough * THIN as i64, start * THIN)
}

/// Tells whether the difference of the channels says more than their sum.
fn side_is_louder(stereo: &[f32]) -> Side {
    let (sum, difference) = stereo.chunks_exact(2).fold((0.0, 0.0), |(sum, difference), pair| {
        (sum + (pair[0] + pair[1]).powi(2), difference + (pair[0] - pair[1]).powi(2))
    });
    if difference > 10.0 * sum { Side::Difference } else { Side::Sum }
}

#[derive(Clone, Copy)]
enum Side {
    Sum,
    Difference,
}

/// One channel, at 6 kHz.
fn thin(stereo: &[f32], side: Side) -> Vec<f32> {
    let sign = match side {
        Side::Sum => 1.0,
        Side::Difference => -1.0,
    };
    stereo
        .chunks(2 * THIN)
        .map(|block| block.chunks_exact(2).map(|pair| pair[0] + sign * pair[1]).sum())
        .collect()
}

/// The first audible minute, and where it begins.
fn probe(thin: &[f32]) -> (Vec<f32>, usize) {
    let loudest = thin.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let Some(start) = thin.iter().position(|value| value.abs() > loudest * AUDIBLE) else {
        return (Vec::new(), 0);
    };
    let end = thin.len().min(start + PROBE);
    (thin[start..end].to_vec(), start)
}

/// The lag with the highest correlation for the energy that is there.
fn best_lag(probe: &[f32], heard: &[f32]) -> i64 {
    let products = fft::correlate(probe, heard);
    let mut energy = vec![0.0_f64];
    for value in heard {
        energy.push(energy[energy.len() - 1] + f64::from(*value).powi(2));
    }
    let under = |lag: i64| {
        let bound = |at: i64| at.clamp(0, heard.len() as i64) as usize;
        energy[bound(lag + probe.len() as i64)] - energy[bound(lag)]
    };
    let lags = 1 - probe.len() as i64..heard.len() as i64;
    let floor = lags.clone().map(under).fold(0.0, f64::max) * ENERGY_FLOOR;
    let value = |lag: i64| {
        let product = f64::from(products[lag.rem_euclid(products.len() as i64) as usize]);
        product / under(lag).max(floor).max(f64::MIN_POSITIVE).sqrt()
    };
    let first = (value(0), 0);
    lags.map(|lag| (value(lag), lag)).fold(first, |best, next| if next.0 > best.0 { next } else { best }).1
}

/// Tries every sample near a rough offset, over the first audible seconds that both have.
fn refine(original: &[f32], heard: &[f32], rough: i64, audible: usize) -> i64 {
    let from = (audible as i64).max(REACH - rough).max(0);
    let common = (original.len() as i64 / 2).min(heard.len() as i64 / 2 - rough - REACH);
    let to = common.min(from + REFINED);
    if to <= from {
        return rough;
    }
    let reference = &original[2 * from as usize..2 * to as usize];
    let product = |offset: i64| -> f64 {
        let there = &heard[2 * (from + offset) as usize..2 * (to + offset) as usize];
        let products = reference.iter().zip(there).map(|(o, h)| f64::from(o * h));
        let energy: f64 = there.iter().map(|h| f64::from(h * h)).sum();
        products.sum::<f64>() / energy.max(f64::MIN_POSITIVE).sqrt()
    };
    let first = (product(rough), rough);
    (rough - REACH..=rough + REACH)
        .map(|offset| (product(offset), offset))
        .fold(first, |best, next| if next.0 > best.0 { next } else { best })
        .1
}

/// Samples at 48 kHz to one at 6 kHz.
const THIN: usize = 8;
/// A minute at 6 kHz.
const PROBE: usize = 60 * 6_000;
/// Five minutes at 6 kHz.
const SEARCHED: usize = 300 * 6_000;
/// Five seconds at 48 kHz.
const REFINED: i64 = 5 * 48_000;
/// How far the rough offset may be off.
const REACH: i64 = 12;
/// −40 dB below the loudest.
const AUDIBLE: f32 = 0.01;
/// Lags over less energy than this share of the most are not made up for.
const ENERGY_FLOOR: f64 = 0.25;
