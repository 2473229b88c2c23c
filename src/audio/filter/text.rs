//! Filters as they are written on a command line.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::settings::{BANDS, FilterError, Filters};

/// `volume=0.8,lowpass=20,timescale.speed=1.2,equalizer.3=0.25`, or JSON if it begins with `{`. Capital letters do not matter; a
/// filter alone (`karaoke`) has its defaults, and one with a value sets its first field.
impl FromStr for Filters {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(not_understood)?
        } else {
            Value::Object(items(text)?)
        };
        let filters: Self = serde_json::from_value(value).map_err(not_understood)?;
        filters.check()?;
        Ok(filters)
    }
}

fn items(text: &str) -> Result<Map<String, Value>, FilterError> {
    let mut all = Map::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (key, value) = match item.split_once('=') {
            Some((key, value)) => (key.trim(), Some(number(item, value)?)),
            None => (item, None),
        };
        let (name, field) = key.split_once('.').map_or((key, None), |(name, field)| (name, Some(field)));
        let known = FILTERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((name, fields)) = known else {
            let names: Vec<_> = FILTERS.iter().map(|(name, _)| *name).collect();
            return Err(FilterError::NotUnderstood(format!(
                "there is no filter {name}: there are {}",
                names.join(", ")
            )));
        };
        put(&mut all, item, (name, fields), field, value)?;
    }
    Ok(all)
}

fn put(
    all: &mut Map<String, Value>,
    item: &str,
    (name, fields): (&str, &[&str]),
    field: Option<&str>,
    value: Option<f64>,
) -> Result<(), FilterError> {
    let refuse = |how: String| Err(FilterError::NotUnderstood(format!("{item} is not understood: {how}")));
    match (name, field, value) {
        ("volume", None, Some(value)) => {
            all.insert(name.to_owned(), value.into());
        }
        ("volume", ..) => return refuse("volume=0.8 is".to_owned()),
        ("noiseSuppression", None, None) => {
            all.insert(name.to_owned(), true.into());
        }
        ("noiseSuppression", ..) => return refuse("it has no value".to_owned()),
        ("equalizer", Some(band), Some(gain)) => {
            let Some(band) = band.parse::<u8>().ok().filter(|band| usize::from(*band) < BANDS.len()) else {
                return refuse("the bands are 0 to 14".to_owned());
            };
            let bands = all.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(bands) = bands {
                bands.push(serde_json::json!({ "band": band, "gain": gain }));
            }
        }
        ("equalizer", ..) => return refuse("equalizer.3=0.25 is".to_owned()),
        (_, field, value) => {
            let known =
                field.map_or(fields.first(), |field| fields.iter().find(|f| f.eq_ignore_ascii_case(field)));
            let Some(known) = known.filter(|_| field.is_none() || value.is_some()) else {
                return refuse(format!("{name} has {}, each with a value", fields.join(", ")));
            };
            let parameters = all.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let (Value::Object(parameters), Some(value)) = (parameters, value) {
                parameters.insert((*known).to_owned(), value.into());
            }
        }
    }
    Ok(())
}

fn number(item: &str, value: &str) -> Result<f64, FilterError> {
    let number = value.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .ok_or_else(|| FilterError::NotUnderstood(format!("{item} is not understood: {value} is no number")))
}

fn not_understood(error: serde_json::Error) -> FilterError {
    FilterError::NotUnderstood(error.to_string())
}

/// The filters with their fields, of which the first may be left out.
const FILTERS: [(&str, &[&str]); 12] = [
    ("volume", &[]),
    ("equalizer", &[]),
    ("karaoke", &["level", "monoLevel", "filterBand", "filterWidth"]),
    ("timescale", &["speed", "pitch", "rate"]),
    ("tremolo", &["frequency", "depth"]),
    ("vibrato", &["frequency", "depth"]),
    ("rotation", &["rotationHz"]),
    (
        "distortion",
        &["scale", "sinOffset", "sinScale", "cosOffset", "cosScale", "tanOffset", "tanScale", "offset"],
    ),
    ("channelMix", &["leftToLeft", "leftToRight", "rightToLeft", "rightToRight"]),
    ("lowPass", &["smoothing"]),
    ("loudness", &["target", "measured"]),
    ("noiseSuppression", &[]),
];
