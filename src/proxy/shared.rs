//! One worker's HTTP/2 connections to one server, which requests share.
//!
//! The connection that was opened first is used first, so that few are busy and the rest expire.
//! Invariant: one connection at a time is being opened, since its room is for all who wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;

use super::multiplex::{Multiplexed, Place};

/// The shared connections to one server; none where HTTP/1.1 is spoken.
#[derive(Debug, Default)]
pub(super) struct Shared {
    connections: RefCell<Vec<Rc<Multiplexed>>>,
    is_opening: Cell<bool>,
    failures: Cell<u64>,
    news: Rc<Notify>,
}

impl Shared {
    /// Room for one request, if there is some.
    pub(super) fn place(&self) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        if connections.is_empty() {
            return None;
        }
        connections.retain(|connection| !connection.is_over());
        connections.iter().find_map(Multiplexed::place)
    }

    /// Takes a connection that was opened.
    pub(super) fn add(&self, connection: Rc<Multiplexed>) {
        self.connections.borrow_mut().push(connection);
    }

    /// The turn to open a connection, unless somebody has it.
    pub(super) fn begin_opening(&self) -> Option<Opening<'_>> {
        let is_free = !self.is_opening.replace(true);
        is_free.then(|| Opening(self))
    }

    /// Notes that a connection could not be opened.
    pub(super) fn failed(&self) {
        self.failures.set(self.failures.get().wrapping_add(1));
    }

    /// Connections that could not be opened so far.
    pub(super) const fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Is told when there may be room, and when a turn to open has ended.
    pub(super) const fn news(&self) -> &Rc<Notify> {
        &self.news
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// How many have no request.
    pub(super) fn idle(&self) -> usize {
        self.connections.borrow().iter().filter(|connection| connection.is_idle()).count()
    }

    /// Closes one that has no request; answers whether there was one.
    pub(super) fn close_idle(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        let idle = connections.iter().position(|connection| connection.is_idle());
        idle.map(|index| connections.remove(index)).is_some()
    }

    /// Lets one end with its requests, unless one does so already; answers whether one will end.
    pub(super) fn let_one_leave(&self) -> bool {
        let connections = self.connections.borrow();
        if !connections.iter().any(|connection| connection.is_leaving())
            && let Some(first) = connections.first()
        {
            first.leave();
        }
        !connections.is_empty()
    }

    /// Closes what was found idle more often than `looks` times, and forgets what is over.
    pub(super) fn reap(&self, looks: u32) {
        self.connections.borrow_mut().retain(|connection| {
            let is_old = connection.is_idle() && connection.looked_at_idle() > looks;
            !(is_old || connection.is_over())
        });
    }

    /// Forgets all; those with requests close with the last of them.
    pub(super) fn clear(&self) {
        self.connections.borrow_mut().clear();
    }
}

/// The turn to open a connection.
pub(super) struct Opening<'a>(&'a Shared);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.news.notify_waiters();
    }
}
