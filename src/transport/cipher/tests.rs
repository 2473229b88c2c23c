//! Every mode against packets made by other implementations.
