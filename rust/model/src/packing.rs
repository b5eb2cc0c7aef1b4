//! A state in 192 bits, and back. Nothing is hashed away: two states are the same if and only if their bits are.

use crate::settings::Settings;
use crate::state::{
    Collector, CollectorAt, INITIAL_NAMES, Job, Mark, MarkStage, Phase, Reader, ReaderAt, State, Writer, WriterAt, only,
};

pub type Packed = [u64; 3];

/// Calls `field` for every field of a state with its width in bits, in one order for both directions.
fn each_field(settings: &Settings, state: &mut State, mut field: impl FnMut(&mut u8, u32)) {
    let names = u32::try_from(settings.names()).unwrap_or(8);
    let slots = u32::try_from(settings.marks()).unwrap_or(8).max(3);
    let bug = |width: u32| if settings.bug.is_some() { width } else { 0 };
    field(&mut state.volumes[0], names);
    if settings.volumes == 2 {
        field(&mut state.volumes[1], names);
    } else {
        state.volumes[1] = state.volumes[0];
    }
    field(&mut state.records, names);
    for commit in INITIAL_NAMES..settings.names() {
        field(&mut state.needs[commit], names);
    }
    // The needs of the first commits never change; all that can happen is that nobody has them in hand any more.
    let mut initial = u8::from(state.needs[0] != 0) | u8::from(state.needs[1] != 0) << 1;
    field(&mut initial, 2);
    state.needs[0] = if initial & 1 == 1 { only(0) } else { 0 };
    state.needs[1] = if initial & 2 == 2 { only(0) | only(1) } else { 0 };
    field(&mut state.protected, names);
    for mark in &mut state.marks[..settings.marks()] {
        let mut stage = mark.stage as u8;
        field(&mut stage, 2);
        mark.stage = MarkStage::from_number(stage);
        field(&mut mark.commit, 3);
    }
    let mut phase = state.root.phase as u8;
    field(&mut phase, 2);
    state.root.phase = Phase::from_number(phase);
    field(&mut state.root.list, names);
    field(&mut state.root.dead, names);
    field(&mut state.orphans, bug(names));
    for writer in &mut state.writers[..settings.writers] {
        let (mut at, mut job) = (writer.at as u8, writer.job as u8);
        field(&mut at, 4);
        field(&mut job, 3);
        writer.at = WriterAt::from_number(at);
        writer.job = Job::from_number(job);
        field(&mut writer.attempt, 2);
        field(&mut writer.target, 3);
        field(&mut writer.seen, slots);
        field(&mut writer.first, bug(names));
    }
    for collector in &mut state.collectors[..settings.collectors] {
        let (mut at, mut stale) = (collector.at as u8, u8::from(collector.stale));
        field(&mut at, 4);
        field(&mut stale, 1);
        collector.at = CollectorAt::from_number(at);
        collector.stale = stale == 1;
        field(&mut collector.archives, names);
        field(&mut collector.commits, names);
        field(&mut collector.view, bug(names));
    }
    if settings.reader {
        let (mut at, mut gap) = (state.reader.at as u8, u8::from(state.reader.gap));
        field(&mut at, 2);
        field(&mut gap, 1);
        state.reader.at = ReaderAt::from_number(at);
        state.reader.gap = gap == 1;
        field(&mut state.reader.commit, 3);
        field(&mut state.reader.archives, names);
    }
}

pub fn pack(settings: &Settings, state: &State) -> Packed {
    let mut packed = [0u64; 3];
    let (mut word, mut filled, mut bits) = (0, 0, 0u64);
    let mut copy = *state;
    each_field(settings, &mut copy, |value, width| {
        bits |= u64::from(*value) << filled;
        filled += width;
        if filled >= 64 {
            packed[word] = bits;
            word += 1;
            filled -= 64;
            bits = u64::from(*value) >> (width - filled);
        }
    });
    if word < packed.len() {
        packed[word] = bits;
    }
    packed
}

pub fn unpack(settings: &Settings, packed: &Packed) -> State {
    let mut state = State::default();
    let mut place = 0usize;
    each_field(settings, &mut state, |value, width| {
        let (word, shift) = (place / 64, place % 64);
        let rest = packed.get(word + 1).copied().unwrap_or(0);
        let both = u128::from(rest) << 64 | u128::from(packed.get(word).copied().unwrap_or(0));
        *value = u8::try_from(both >> shift & ((1 << width) - 1)).unwrap_or(0);
        place += width as usize;
    });
    state
}

/// How many bits a state takes.
pub fn width(settings: &Settings) -> u32 {
    let mut bits = 0;
    each_field(settings, &mut State::default(), |_, width| bits += width);
    bits
}

/// What remains when every process is gone: what the check for leaks depends on.
pub fn without_processes(state: &State) -> State {
    State {
        writers: [Writer::default(); 3],
        collectors: [Collector::default(); 2],
        reader: Reader::default(),
        ..*state
    }
}

/// The state before anything happens: a full snapshot and a delta on it, both reported as safe.
pub fn initial() -> State {
    let mut state =
        State { volumes: [3, 3], records: 3, protected: 3, marks: [Mark::default(); 5], ..State::default() };
    state.needs[0] = only(0);
    state.needs[1] = only(0) | only(1);
    state
}
