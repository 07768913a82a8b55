//! Forms where several gateways meet.
//!
//! A server that is down or slow holds up nobody for longer than [`DEADLINE`]; what comes then is kept here.
//! Invariant: a place that does not answer is an error, never "no such form".

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::form::FormId;
use super::redis::RedisForms;
use super::sql::{MySqlForms, PostgresForms};
use super::{Entry, Unreachable};
use crate::clock::Timestamp;
use crate::storage::Meeting;
use crate::storage::sql::Engine;

/// Forms that all gateways see.
#[derive(Debug)]
pub(super) struct Shared {
    place: Place,
    is_down: AtomicBool,
}

#[derive(Debug)]
enum Place {
    Redis(RedisForms),
    Postgres(PostgresForms),
    MySql(MySqlForms),
}

impl Shared {
    /// None where gateways do not meet.
    pub(super) async fn open(meeting: &Meeting) -> Option<Self> {
        let place = match meeting {
            Meeting::Nowhere => return None,
            Meeting::Redis(location) => Place::Redis(RedisForms::open(location.clone()).await),
            Meeting::Sql(location) => match location.engine() {
                Engine::Postgres => Place::Postgres(PostgresForms::new(location)),
                Engine::MySql => Place::MySql(MySqlForms::new(location)),
            },
        };
        Some(Self { place, is_down: AtomicBool::new(false) })
    }

    /// Adds a form, for which the oldest make room.
    pub(super) async fn add(&self, entry: &Entry, now: Timestamp) -> Result<(), Unreachable> {
        self.soon(async {
            match &self.place {
                Place::Redis(forms) => forms.add(entry, now).await,
                Place::Postgres(forms) => forms.add(entry, now).await.map_err(|error| error.to_string()),
                Place::MySql(forms) => forms.add(entry, now).await.map_err(|error| error.to_string()),
            }
        })
        .await
    }

    /// The sealed form of that name.
    pub(super) async fn find(&self, id: FormId, now: Timestamp) -> Result<Option<Vec<u8>>, Unreachable> {
        self.soon(async {
            match &self.place {
                Place::Redis(forms) => forms.find(id, now).await,
                Place::Postgres(forms) => forms.find(id, now).await.map_err(|error| error.to_string()),
                Place::MySql(forms) => forms.find(id, now).await.map_err(|error| error.to_string()),
            }
        })
        .await
    }

    /// Whether it was there; then it is gone, for all gateways.
    pub(super) async fn take(&self, id: FormId) -> Result<bool, Unreachable> {
        self.soon(async {
            match &self.place {
                Place::Redis(forms) => forms.take(id).await,
                Place::Postgres(forms) => forms.take(id).await.map_err(|error| error.to_string()),
                Place::MySql(forms) => forms.take(id).await.map_err(|error| error.to_string()),
            }
        })
        .await
    }

    pub(super) async fn close(&self) {
        match &self.place {
            Place::Redis(forms) => forms.close(),
            Place::Postgres(forms) => forms.close().await,
            Place::MySql(forms) => forms.close().await,
        }
    }

    async fn soon<T>(&self, answer: impl Future<Output = Result<T, String>>) -> Result<T, Unreachable> {
        let answer = timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        self.note(answer.as_ref().err().map(String::as_str));
        answer.map_err(Unreachable)
    }

    /// Told once when it goes down and once when it is back.
    fn note(&self, fault: Option<&str>) {
        if self.is_down.swap(fault.is_some(), Ordering::Relaxed) == fault.is_some() {
            return;
        }
        if let Some(error) = fault {
            tracing::warn!(error, "interrupted forms are kept by each gateway for itself for a while");
        } else {
            tracing::info!("interrupted forms are kept for all gateways again");
        }
    }
}

/// How long somebody waits for the place that others share.
const DEADLINE: Duration = Duration::from_secs(1);
