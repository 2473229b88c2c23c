//! Every message against the samples, and every damage to them.
