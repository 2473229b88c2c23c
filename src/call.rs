//! Recovery: what a call does after every failure.
