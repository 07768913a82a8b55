//! `vestibule keys status`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::dependence::{CanGo, Dependence};
use crate::cli::report::{Failure, to_json};
use crate::cli::span::span;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::session::keyring::{Key, KeyRing};

pub(super) fn run(config: &Config, ring: &KeyRing, json: bool) -> Result<String, Failure> {
    let dependence = Dependence::ask(config)?;
    let now = Clock::system().now();
    if json {
        return to_json(&ring.keys().map(|key| as_json(key, ring, &dependence, now)).collect::<Vec<_>>());
    }
    let mut text = String::from("KEY       ROLE    CREATED                   AGE         SESSIONS  CAN GO\n");
    for key in ring.keys() {
        // Writing into a string cannot fail.
        let _infallible = writeln!(
            text,
            "{}  {:<6}  {}  {:<10}  {:<8}  {}",
            key.id(),
            key.role().as_str(),
            key.created(),
            span(now.since(key.created())),
            dependence.sessions(key.id()).map_or_else(|| "?".to_owned(), |count| count.to_string()),
            in_words(&dependence.can_go(ring, key.id(), now)),
        );
    }
    Ok(text + &unlisted(ring, &dependence) + dependence.remark)
}

fn as_json(key: &Key, ring: &KeyRing, dependence: &Dependence, now: Timestamp) -> Value {
    let can_go = match dependence.can_go(ring, key.id(), now) {
        CanGo::Signer => Value::Null,
        CanGo::Now => Value::from("now"),
        CanGo::After(time) => Value::from(time),
    };
    json!({
        "id": key.id().to_string(),
        "role": key.role().as_str(),
        "signs": key.id() == ring.signer().id(),
        "created": key.created().to_string(),
        "age_seconds": now.since(key.created()).as_secs(),
        "sessions": dependence.sessions(key.id()),
        "can_go": can_go,
    })
}

fn in_words(can_go: &CanGo) -> String {
    match can_go {
        CanGo::Signer => "no: it signs".to_owned(),
        CanGo::Now => "now".to_owned(),
        CanGo::After(time) => format!("after {time}"),
    }
}

/// What the counts do not say of the keys of the ring.
fn unlisted(ring: &KeyRing, dependence: &Dependence) -> String {
    let counted = match &dependence.counted {
        Ok(counted) => counted,
        Err(why) => return format!("how many sessions depend on a key is not known: {why}\n"),
    };
    let is_listed = |id: &str| ring.keys().any(|key| key.id().to_string() == id);
    let lost = counted.iter().filter(|used| !is_listed(&used.key)).map(|used| {
        format!("key {} is not in the ring: {} sessions that it seals are refused\n", used.key, used.sessions)
    });
    lost.collect()
}
