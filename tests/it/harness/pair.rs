//! Two gateways of one service: each with a clock of its own, sharing what their setup says.

use std::time::Duration;

use super::{Backend, Client, Gateway, Setup};

/// Two gateways and the backend behind both.
pub(crate) struct Pair {
    pub(crate) one: Gateway,
    pub(crate) two: Gateway,
    pub(crate) backend: Backend,
}

impl Pair {
    /// Starts both with `setup`, which leads to `backend`.
    #[track_caller]
    pub(crate) fn start(setup: &Setup, backend: Backend) -> Self {
        let one = Gateway::start(setup);
        let two = one.twin(setup);
        Self { one, two, backend }
    }

    /// Moves both clocks.
    pub(crate) fn advance(&self, by: Duration) {
        self.one.advance(by);
        self.two.advance(by);
    }

    /// The same browser on a connection to the second gateway.
    pub(crate) fn elsewhere(&self, visitor: &Client) -> Client {
        visitor.moved_to(self.two.address())
    }
}
