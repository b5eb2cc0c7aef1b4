//! The steps that lead out of a state.

use crate::rules::{Setup, View};
use crate::state::{Mask, State, slots};
use crate::{collector, reader, writer};

/// Somebody does something. wrong: what that breaks, whatever the state is afterwards.
#[derive(Clone, Copy)]
pub struct Step {
    actor: &'static str,
    action: &'static str,
    slots: Option<Mask>,
    pub next: State,
    pub wrong: Option<&'static str>,
}

impl Step {
    /// A line of a trace.
    #[must_use]
    pub fn text(&self) -> String {
        let named: Vec<String> = slots(self.slots.unwrap_or(0)).map(|slot| slot.to_string()).collect();
        match self.slots {
            Some(0) => format!("{}: {} (nothing)", self.actor, self.action),
            Some(_) => format!("{}: {} {}", self.actor, self.action, named.join(", ")),
            None => format!("{}: {}", self.actor, self.action),
        }
    }
}

/// All steps out of one state.
#[derive(Default)]
pub struct Steps {
    pub all: Vec<Step>,
    pending: Option<&'static str>,
}

impl Steps {
    /// Say that the step to be added next is wrong in itself.
    pub fn fault(&mut self, text: &'static str) {
        self.pending = Some(text);
    }

    /// Add a step that has to do with one slot, or with none.
    pub fn put(&mut self, actor: &'static str, action: &'static str, slot: Option<u8>, next: State) {
        self.put_list(actor, action, slot.map(|slot| 1 << slot), next);
    }

    /// Add a step that has to do with a list of slots.
    pub fn put_list(&mut self, actor: &'static str, action: &'static str, slots: Option<Mask>, next: State) {
        self.all.push(Step { actor, action, slots, next, wrong: self.pending.take() });
    }

    /// Replace all by the steps out of `state`.
    pub fn fill(&mut self, state: &State, setup: &Setup) {
        self.all.clear();
        let view = View::new(state);
        for index in 0..setup.writers {
            writer::steps(state, &view, setup, index, self);
        }
        for index in 0..setup.collectors {
            collector::steps(state, &view, setup, index, self);
        }
        writer::forget_steps(state, &view, setup, self);
        if setup.reader {
            reader::steps(state, &view, setup, self);
        }
    }
}
