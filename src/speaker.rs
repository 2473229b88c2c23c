//! Playout: which frame goes out at which 20 ms.
