//! Backup, restore, verification and row reads: the rooms below, driven by a bounded pool of workers.

pub mod coding;
pub mod compact;
pub mod delta;
pub mod equal;
mod feeder;
pub mod id_index;
mod kept;
pub mod live;
mod mapped;
pub mod member;
pub mod memory;
pub mod open;
pub mod output;
pub mod pack;
pub mod packer;
pub mod report;
pub mod restore;
pub mod rows;
mod streams;
pub mod touched;
pub mod verify;
mod verify_blocks;
pub mod verify_rows;
pub mod view;
pub mod workers;
