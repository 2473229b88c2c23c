//! Stories of one websocket against a scripted voice gateway.
