//! Backup, restore, verification and row reads: the rooms below, driven by a bounded pool of workers.

pub mod coding;
mod feeder;
pub mod live;
pub mod member;
pub mod memory;
pub mod pack;
pub mod packer;
pub mod report;
pub mod restore;
pub mod rows;
mod streams;
pub mod verify;
pub mod view;
pub mod workers;
