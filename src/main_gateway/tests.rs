//! Stories of one shard against a scripted Discord.
