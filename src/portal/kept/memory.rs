//! Forms in the memory of this process: they leave no trace on a disk, and end with it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Entry;
use super::bounds::surplus;
use super::form::FormId;
use crate::clock::Timestamp;

/// The forms, the oldest first.
#[derive(Debug)]
pub(super) struct Memory(Mutex<VecDeque<Entry>>);

impl Memory {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub(super) fn add(&self, entry: Entry, now: Timestamp) {
        let mut entries = self.entries();
        entries.retain(|entry| now < entry.expires);
        entries.push_back(entry);
        let gone = surplus(entries.iter().rev().map(Entry::measured));
        entries.retain(|entry| gone.iter().all(|gone| gone.id != entry.id));
    }

    pub(super) fn find(&self, id: FormId, now: Timestamp) -> Option<Vec<u8>> {
        let entries = self.entries();
        let found = entries.iter().find(|entry| entry.id == id && now < entry.expires);
        found.map(|entry| entry.sealed.clone())
    }

    /// Whether it was there.
    pub(super) fn take(&self, id: FormId) -> bool {
        let mut entries = self.entries();
        let place = entries.iter().position(|entry| entry.id == id);
        place.and_then(|place| entries.remove(place)).is_some()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
