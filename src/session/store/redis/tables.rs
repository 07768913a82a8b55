//! Sessions and their indexes in Redis.
//!
//! A session begins with its index entries and ends with them: a crash in between leaves entries
//! without a session, which are passed over and pruned once their end has come, but never a session
//! that no index finds. Whether a session has ended is for the engine to say: lives in Redis are only a
//! net for gateways that never come back.

use std::collections::HashSet;
use std::time::Duration;

use redis::{Cmd, Value};

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;
use crate::storage::redis::{Call, Redis};

use super::super::{Entry, KeyUse, Place, Row, StoreError, Touch};
use super::encoding::{self, Head};
use super::keys::Keys;
use super::scripts::Scripts;
use super::values;

pub(super) struct Tables {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    scripts: Scripts,
    clock: Clock,
}

impl Tables {
    pub(super) fn new(redis: Redis, clock: Clock) -> Self {
        let keys = Keys::new(redis.prefix());
        Self { redis, keys, scripts: Scripts::new(), clock }
    }

    pub(super) async fn insert(&self, row: Row) -> Result<(), StoreError> {
        let taken = || StoreError::Unavailable("a session with this id exists".to_owned());
        // First of all, so that an id that is taken leaves the entries of its owner alone.
        let (exists, ()) = tokio::try_join!(self.exists(row.id), self.prune(&row))?;
        if exists {
            return Err(taken());
        }
        self.run_all(self.enter(&row)).await?;
        let lives = Lives::of(row.expires_at, self.clock.now());
        let call = self
            .call(row.id)
            .with(encoding::session(&row))
            .with(encoding::times(row.id, row.last_seen, row.expires_at))
            .with_number(lives.session)
            .with_number(lives.times);
        let inserted = values::only(self.redis.call(&self.scripts.insert, &[call]).await?)?;
        if values::count(&inserted)? == 1 { Ok(()) } else { Err(taken()) }
    }

    pub(super) async fn load(&self, id: SessionId) -> Result<Option<Row>, StoreError> {
        let answer = values::only(self.redis.call(&self.scripts.load, &[self.call(id)]).await?)?;
        values::row(id, Ok(answer))
    }

    /// News of one session may come twice in a batch: they are told in their order.
    pub(super) async fn touch(&self, mut touches: Vec<Touch>) -> Result<(), StoreError> {
        while !touches.is_empty() {
            let mut seen = HashSet::new();
            let (first, later) = touches.into_iter().partition(|touch| seen.insert(touch.id));
            self.touch_each(first).await?;
            touches = later;
        }
        Ok(())
    }

    /// Removes the sessions, then their index entries; `user` is their owner where all have one.
    pub(super) async fn remove(
        &self,
        ids: &[SessionId],
        user: Option<&UserId>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let calls: Vec<Call> = ids.iter().map(|id| self.call(*id)).collect();
        let answers = self.redis.call(&self.scripts.remove, &calls).await?;
        let mut removed = Vec::new();
        let mut commands = Vec::new();
        for (id, answer) in ids.iter().zip(answers) {
            if let Value::BulkString(head) = answer? {
                removed.push(*id);
                let head = encoding::head(&head).map(|(head, _)| head);
                self.leave(*id, head.as_ref(), user, &mut commands);
            }
        }
        // The sessions are gone: entries that stay are passed over.
        self.run_if_possible(commands).await;
        Ok(removed)
    }

    pub(super) async fn of_user(&self, user: &UserId) -> Result<Vec<Entry>, StoreError> {
        let index = self.keys.of_user(user);
        let places = self.places_of_user(user).await?;
        let mut entries = self.entries(index, places).await?;
        for entry in &mut entries {
            entry.row.take_if(|row| row.user != *user);
        }
        Ok(entries)
    }

    pub(super) async fn ids_of_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.places_of_user(user).await?.into_iter().map(|place| place.id).collect())
    }

    pub(super) async fn users(&self, now: Timestamp) -> Result<Vec<UserId>, StoreError> {
        let mut range = command("ZRANGE", self.keys.users());
        range.arg(behind(now)).arg("+inf").arg("BYSCORE");
        let names = values::texts(values::only(self.redis.run(vec![range]).await?)?)?;
        let name = |name: Vec<u8>| String::from_utf8(name).ok().and_then(|name| UserId::try_from(name).ok());
        let users: Vec<UserId> = names.into_iter().filter_map(name).collect();
        // Who has logged out everywhere stays in the list until the end that was foreseen.
        let counts = users.iter().map(|user| count_behind(self.keys.of_user(user), now)).collect();
        let mut live = Vec::with_capacity(users.len());
        for (user, answer) in users.into_iter().zip(self.redis.run(counts).await?) {
            if values::count(&answer?)? > 0 {
                live.push(user);
            }
        }
        Ok(live)
    }

    pub(super) async fn key_use(&self, now: Timestamp) -> Result<Vec<KeyUse>, StoreError> {
        let members = command("SMEMBERS", self.keys.keys());
        let names = values::texts(values::only(self.redis.run(vec![members]).await?)?)?;
        let keys: Vec<KeyId> =
            names.iter().filter_map(|name| name.as_slice().try_into().ok()).map(KeyId::from_bytes).collect();
        let mut commands = Vec::with_capacity(keys.len() * 2);
        for key in &keys {
            let mut last = command("ZRANGE", self.keys.of_key(*key));
            last.arg("-1").arg("-1").arg("WITHSCORES");
            commands.extend([count_behind(self.keys.of_key(*key), now), last]);
        }
        let mut answers = self.redis.run(commands).await?.into_iter();
        let mut uses = Vec::with_capacity(keys.len());
        for key in keys {
            let (Some(count), Some(last)) = (answers.next(), answers.next()) else { break };
            let sessions = values::count(&count?)?;
            if let (Some(last), 1..) = (values::places(last?)?.last(), sessions) {
                uses.push(KeyUse { key, sessions, until: last.expires_at });
            }
        }
        Ok(uses)
    }

    pub(super) async fn by_end(
        &self,
        mut after: Option<Place>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        loop {
            let mut places = self.places_behind(after, limit.min(LONGEST_PAGE)).await?;
            places.retain(|place| place.expires_at <= until);
            let Some(last) = places.last().copied() else { return Ok(Vec::new()) };
            let entries = self.entries(self.keys.ends(), places).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            after = Some(last);
        }
    }

    async fn touch_each(&self, touches: Vec<Touch>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let calls: Vec<Call> = touches.iter().map(|touch| self.touch_call(touch, now)).collect();
        let answers = self.redis.call(&self.scripts.touch, &calls).await?;
        let mut commands = Vec::new();
        for (touch, answer) in touches.iter().zip(answers) {
            match answer {
                Ok(Value::BulkString(key)) => {
                    let sealed_by = key.as_slice().try_into().map_or(touch.key, KeyId::from_bytes);
                    self.move_entries(touch, sealed_by, &mut commands);
                }
                Ok(_) => {}
                // It harms no other; whoever loads it hears of it.
                Err(fault) => {
                    tracing::warn!(session = %touch.id, error = %fault, "session cannot be touched");
                }
            }
        }
        self.run_all(commands).await
    }

    fn touch_call(&self, touch: &Touch, now: Timestamp) -> Call {
        let lives = Lives::of(touch.expires_at, now);
        let call = self
            .call(touch.id)
            .with_number(touch.last_seen.as_millis())
            .with(encoding::times(touch.id, touch.last_seen, touch.expires_at))
            .with_number(lives.times)
            .with_number(lives.left)
            .with_number(lives.session);
        match &touch.resealed {
            Some(resealed) => call.with(encoding::tail(resealed)),
            None => call,
        }
    }

    async fn exists(&self, id: SessionId) -> Result<bool, StoreError> {
        let exists = command("EXISTS", self.keys.session(id));
        Ok(values::count(&values::only(self.redis.run(vec![exists]).await?)?)? > 0)
    }

    /// Takes entries of sessions that ended long ago out of the sets that a session enters, so that
    /// those do not grow with sessions that nobody swept.
    async fn prune(&self, row: &Row) -> Result<(), StoreError> {
        let long_ago = score(self.clock.now() - DAY);
        let sets = [self.keys.of_user(&row.user), self.keys.of_key(row.key), self.keys.users()];
        let calls = sets.map(|set| Call::on([set]).with_number(long_ago));
        for answer in self.redis.call(&self.scripts.prune, &calls).await? {
            answer?;
        }
        Ok(())
    }

    /// The index entries of a session that begins.
    fn enter(&self, row: &Row) -> Vec<Cmd> {
        let (user, key) = (self.keys.of_user(&row.user), self.keys.of_key(row.key));
        let mut commands = Vec::with_capacity(5);
        for index in [self.keys.ends(), user, key] {
            commands.push(add(index, "NX", row.id, row.expires_at));
        }
        commands.push(self.add_user(&row.user, row.expires_at));
        commands.push(self.add_key(row.key));
        commands
    }

    /// Follows a touch. `XX`: what was removed meanwhile must not come back.
    fn move_entries(&self, touch: &Touch, sealed_by: KeyId, commands: &mut Vec<Cmd>) {
        let end = touch.expires_at;
        commands.push(add(self.keys.ends(), "XX", touch.id, end));
        commands.push(add(self.keys.of_user(&touch.user), "XX", touch.id, end));
        commands.push(self.add_user(&touch.user, end));
        match &touch.resealed {
            Some(resealed) if resealed.key != sealed_by => {
                commands.push(self.add_key(resealed.key));
                commands.push(add(self.keys.of_key(resealed.key), "CH", touch.id, end));
                commands.push(take_out(self.keys.of_key(sealed_by), touch.id));
            }
            _ => commands.push(add(self.keys.of_key(sealed_by), "XX", touch.id, end)),
        }
    }

    fn leave(&self, id: SessionId, head: Option<&Head>, user: Option<&UserId>, commands: &mut Vec<Cmd>) {
        commands.push(take_out(self.keys.ends(), id));
        if let Some(head) = head {
            commands.push(take_out(self.keys.of_key(head.key), id));
        }
        if let Some(user) = user.or(head.map(|head| &head.user)) {
            commands.push(take_out(self.keys.of_user(user), id));
        }
    }

    fn add_user(&self, user: &UserId, end: Timestamp) -> Cmd {
        let mut command = command("ZADD", self.keys.users());
        command.arg("GT").arg(score(end)).arg(user.as_str());
        command
    }

    fn add_key(&self, key: KeyId) -> Cmd {
        let mut command = command("SADD", self.keys.keys());
        command.arg(key.as_bytes());
        command
    }

    async fn places_of_user(&self, user: &UserId) -> Result<Vec<Place>, StoreError> {
        let mut range = command("ZRANGE", self.keys.of_user(user));
        range.arg("0").arg("-1").arg("WITHSCORES");
        values::places(values::only(self.redis.run(vec![range]).await?)?)
    }

    async fn places_behind(&self, after: Option<Place>, limit: usize) -> Result<Vec<Place>, StoreError> {
        let end = after.map(|place| score(place.expires_at).to_string()).unwrap_or_default();
        let id = after.map(|place| place.id.as_bytes().to_vec()).unwrap_or_default();
        let call = Call::on([self.keys.ends()]).with(end).with(id).with(limit.to_string());
        values::places(values::only(self.redis.call(&self.scripts.places, &[call]).await?)?)
    }

    /// The sessions at these places of `index`.
    async fn entries(&self, index: Vec<u8>, places: Vec<Place>) -> Result<Vec<Entry>, StoreError> {
        let calls: Vec<Call> = places.iter().map(|place| self.call(place.id)).collect();
        let answers = self.redis.call(&self.scripts.load, &calls).await?;
        let (mut entries, mut gone) = (Vec::with_capacity(places.len()), Vec::new());
        for (place, answer) in places.into_iter().zip(answers) {
            match values::row(place.id, answer) {
                Ok(Some(row)) => entries.push(Entry { place, row: Some(row) }),
                Ok(None) => gone.push(place),
                Err(_) => entries.push(Entry { place, row: None }),
            }
        }
        // An entry whose end is to come may be that of a session that begins at this moment.
        let now = self.clock.now();
        let old = gone.into_iter().filter(|place| place.expires_at <= now);
        self.run_if_possible(old.map(|place| take_out(index.clone(), place.id)).collect()).await;
        Ok(entries)
    }

    async fn run_all(&self, commands: Vec<Cmd>) -> Result<(), StoreError> {
        for answer in self.redis.run(commands).await? {
            answer?;
        }
        Ok(())
    }

    async fn run_if_possible(&self, commands: Vec<Cmd>) {
        if let Err(error) = self.run_all(commands).await {
            tracing::debug!(%error, "index entries without a session stay");
        }
    }

    fn call(&self, id: SessionId) -> Call {
        Call::on([self.keys.session(id), self.keys.times(id)])
    }
}

/// How long Redis keeps the keys of a session, in milliseconds from now.
struct Lives {
    left: i64,
    session: i64,
    times: i64,
}

impl Lives {
    fn of(end: Timestamp, now: Timestamp) -> Self {
        let left = i64::try_from(end.since(now).as_millis()).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE);
        let times = left + DAY_MILLIS;
        // Long enough that touches extend it rarely.
        Self { left, session: times.max(2 * left), times }
    }
}

fn command(name: &str, key: Vec<u8>) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

fn add(index: Vec<u8>, how: &str, id: SessionId, end: Timestamp) -> Cmd {
    let mut command = command("ZADD", index);
    command.arg(how).arg(score(end)).arg(id.as_bytes().as_slice());
    command
}

fn take_out(index: Vec<u8>, id: SessionId) -> Cmd {
    let mut command = command("ZREM", index);
    command.arg(id.as_bytes().as_slice());
    command
}

fn count_behind(index: Vec<u8>, now: Timestamp) -> Cmd {
    let mut command = command("ZCOUNT", index);
    command.arg(behind(now)).arg("+inf");
    command
}

fn behind(time: Timestamp) -> String {
    format!("({}", score(time))
}

/// Scores are floating: beyond this they could not tell two milliseconds apart.
fn score(time: Timestamp) -> i64 {
    time.as_millis().clamp(-EXACT, EXACT)
}

const EXACT: i64 = 1 << 53;
const DAY: Duration = Duration::from_hours(24);
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// A thousand years.
const LONGEST_LIFE: i64 = 365_000 * DAY_MILLIS;
const LONGEST_PAGE: usize = 10_000;
