//! A radix-2 Fourier transform, enough to correlate a minute of audio.

use std::f64::consts::TAU;

/// Real and imaginary part.
pub(super) type Complex = (f32, f32);

pub(super) fn multiply(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// Transforms in place; the inverse is the transform of the conjugate, up to scale.
///
/// # Panics
/// Where the length is no power of two.
pub(super) fn transform(values: &mut [Complex]) {
    let len = values.len();
    assert!(len.is_power_of_two(), "a radix-2 transform of {len} values");
    reverse_bits(values);
    let turns: Vec<Complex> = (0..len / 2)
        .map(|k| {
            let angle = -TAU * k as f64 / len as f64;
            (angle.cos() as f32, angle.sin() as f32)
        })
        .collect();
    let mut half = 1;
    while half < len {
        let stride = len / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let turned = multiply(*b, turns[k * stride]);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
        half *= 2;
    }
}

fn reverse_bits(values: &mut [Complex]) {
    let bits = values.len().trailing_zeros();
    if bits == 0 {
        return;
    }
    for i in 0..values.len() {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            values.swap(i, j);
        }
    }
}

/// Correlates: entry `lag` is the sum over `n` of `a[n] · b[n + lag]`; negative lags are counted from the end.
pub(super) fn correlate(a: &[f32], b: &[f32]) -> Vec<f32> {
    let len = (a.len() + b.len()).next_power_of_two();
    let mut spectra = [a, b].map(|signal| {
        let mut values: Vec<Complex> = signal.iter().map(|value| (*value, 0.0)).collect();
        values.resize(len, (0.0, 0.0));
        transform(&mut values);
        values
    });
    let [a, b] = &mut spectra;
    for (a, b) in a.iter_mut().zip(b) {
        // conj(A)·B, conjugated once more for the inverse.
        *a = multiply(*a, (b.0, -b.1));
    }
    transform(a);
    a.iter().map(|value| value.0 / len as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::correlate;

    #[test]
    fn correlation_is_the_sum_of_products_at_every_lag() {
        let a = [1.0, -2.0, 3.0];
        let b = [0.5, 4.0, 1.0, -1.0, 2.0];
        let fast = correlate(&a, &b);
        for lag in -2_i64..5 {
            let slow: f32 =
                (0..3).filter_map(|n| Some(a[n] * b.get(usize::try_from(n as i64 + lag).ok()?)?)).sum();
            let index = lag.rem_euclid(fast.len() as i64) as usize;
            assert!((fast[index] - slow).abs() < 1e-5, "lag {lag}: {} is not {slow}", fast[index]);
        }
    }
}
