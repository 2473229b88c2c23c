//! How what is heard sounds, and how late it is: the whole machine behind the socket, from packets that are lost or late to samples.
#![cfg(feature = "decode")]

mod any_order;
mod facts;
mod live;
mod network;
mod quality;
mod speech;
