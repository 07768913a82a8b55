//! Reads what Redis answers.
//!
//! Invariant: an answer of an unexpected shape is [`StoreError::Corrupt`], never "there is none".

use redis::Value;

use crate::clock::Timestamp;
use crate::session::token::SessionId;
use crate::storage::redis::Answer;

use super::super::{Place, Row, StoreError};
use super::encoding;

/// The answer to one command.
pub(super) fn only(answers: Vec<Answer>) -> Result<Value, StoreError> {
    let first = answers.into_iter().next().ok_or_else(|| odd("there is none"))?;
    Ok(first?)
}

/// The session in an answer of the script that loads.
pub(super) fn row(id: SessionId, answer: Answer) -> Result<Option<Row>, StoreError> {
    let Value::Array(values) = answer? else { return Err(odd("a session is no pair")) };
    match values.as_slice() {
        [Value::Nil, _] => Ok(None),
        [Value::BulkString(session), Value::BulkString(times)] => encoding::row(id, session, times).map(Some),
        // Its times have outlived it by a day, or were evicted: a login, but never a wrong session.
        [Value::BulkString(session), Value::Nil] => match encoding::head(session) {
            Some((head, _)) if head.id == id => Ok(None),
            _ => Err(odd("a session without times is none")),
        },
        _ => Err(odd("a session is no pair")),
    }
}

/// Members with their scores; a member that is no id is nobody's session.
pub(super) fn places(value: Value) -> Result<Vec<Place>, StoreError> {
    let Value::Array(values) = value else { return Err(odd("a range is no list")) };
    let flat: Vec<Value> = values
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(pair) => pair,
            single => vec![single],
        })
        .collect();
    let pairs = flat.chunks_exact(2).filter_map(|pair| match pair {
        [Value::BulkString(member), score] => Some((<[u8; 32]>::try_from(member.as_slice()).ok()?, score)),
        _ => None,
    });
    pairs.map(|(id, score)| Ok(Place { expires_at: time(score)?, id: SessionId::from_bytes(id) })).collect()
}

/// The texts of a list or set.
pub(super) fn texts(value: Value) -> Result<Vec<Vec<u8>>, StoreError> {
    let (Value::Array(values) | Value::Set(values)) = value else { return Err(odd("a set is no list")) };
    let text = |value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    };
    Ok(values.into_iter().filter_map(text).collect())
}

pub(super) fn count(value: &Value) -> Result<u64, StoreError> {
    match value {
        Value::Int(count) => Ok(count.unsigned_abs()),
        _ => Err(odd("a count is no number")),
    }
}

fn time(score: &Value) -> Result<Timestamp, StoreError> {
    let text = match score {
        Value::Double(score) => format!("{score:.0}"),
        Value::BulkString(score) => String::from_utf8_lossy(score).into_owned(),
        _ => return Err(odd("a score is no number")),
    };
    text.parse().map(Timestamp::from_millis).map_err(|_| odd("a score is no time"))
}

fn odd(reason: &str) -> StoreError {
    StoreError::Corrupt(format!("Redis gives a strange answer: {reason}"))
}
