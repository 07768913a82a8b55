//! Where a command asks about sessions: the running gateway, or the store when none runs.
//!
//! Invariant: both are asked the same questions and give the same answers.

use serde::de::DeserializeOwned;

use super::report::Failure;
use crate::admin::Question;
use crate::admin::client::{self, AskError};
use crate::app::{AtRest, Errand};
use crate::config::Config;
use crate::session::StoreKind;

/// Who answers questions about sessions.
pub(super) struct Office<'a> {
    config: &'a Config,
    at_rest: Option<AtRest>,
}

impl<'a> Office<'a> {
    /// Finds the running gateway, or opens the store.
    pub(super) async fn open(config: &'a Config, errand: Errand) -> Result<Self, Failure> {
        let at_rest = match client::find(&config.admin.socket).await {
            Ok(()) => None,
            Err(AskError::NotRunning(_)) => {
                Some(AtRest::open(config, errand).await.map_err(Failure::failed)?)
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        Ok(Self { config, at_rest })
    }

    /// The answer to `question`.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: Question) -> Result<T, AskError> {
        match &self.at_rest {
            Some(at_rest) => client::ask_desk(at_rest.desk(), question).await,
            None => client::ask(&self.config.admin.socket, &question).await,
        }
    }

    /// Whether the store itself was opened, because no gateway runs.
    pub(super) const fn is_at_rest(&self) -> bool {
        self.at_rest.is_some()
    }

    /// What a person should know of who answered.
    pub(super) fn remark(&self) -> &'static str {
        match (&self.at_rest, &self.config.session.store) {
            (None, _) => "",
            (Some(_), StoreKind::Memory) => {
                "no gateway is running here; the sessions of `memory:` ended with its process\n"
            }
            (Some(_), _) => "no gateway is running here; this is what its session store holds\n",
        }
    }

    /// To be called before the command ends.
    pub(super) async fn close(self) {
        if let Some(at_rest) = self.at_rest {
            at_rest.close().await;
        }
    }
}

/// Asks a single question.
pub(super) async fn ask_once<T: DeserializeOwned>(
    config: &Config,
    errand: Errand,
    question: Question,
) -> Result<(T, &'static str), Failure> {
    let office = Office::open(config, errand).await?;
    let answer = office.ask(question).await;
    let remark = office.remark();
    office.close().await;
    Ok((answer.map_err(Failure::failed)?, remark))
}
