//! Source: where audio comes from.
