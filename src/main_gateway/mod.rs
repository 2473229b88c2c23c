//! Shard: one connection to Discord's main gateway.
