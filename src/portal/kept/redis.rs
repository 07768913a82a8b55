//! Forms in the Redis that keeps the sessions: `PREFIX:{forms}:NAME` is a form, `PREFIX:{forms}:ends` a sorted
//! set of what their bounds must know.
//!
//! Invariants: all keys are in one slot of a cluster, by the braces; each expires by itself; no more commands
//! are used than sessions need, so that the same rules of access do.

use std::fmt::Write as _;

use redis::Value;

use super::bounds::{Kept, surplus};
use super::form::{FormId, Whose};
use super::{Entry, LIFETIME};
use crate::clock::Timestamp;
use crate::storage::redis::{Call, Location, Redis, Script};

/// Forms in a Redis.
#[derive(Debug)]
pub(super) struct RedisForms {
    redis: Redis,
    add: Script,
    take: Script,
}

impl RedisForms {
    /// Begins to connect. A Redis that is down is no error.
    pub(super) async fn open(location: Location) -> Self {
        Self { redis: Redis::open(location).await, add: Script::new(ADD), take: Script::new(TAKE) }
    }

    pub(super) async fn add(&self, entry: &Entry, now: Timestamp) -> Result<(), String> {
        let call = self
            .call(entry.id)
            .with_number(now.as_millis())
            .with_number(entry.expires.as_millis())
            .with(value(entry))
            .with(member(&entry.measured()))
            .with_number(i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX));
        let Value::Array(members) = self.run(&self.add, call).await? else { return Err(self.odd()) };
        let gone = surplus(members.iter().filter_map(read_member));
        let calls: Vec<Call> = gone.iter().map(|kept| self.call(kept.id).with(member(kept))).collect();
        self.redis.call(&self.take, &calls).await.map(drop).map_err(|fault| fault.to_string())
    }

    pub(super) async fn find(&self, id: FormId, now: Timestamp) -> Result<Option<Vec<u8>>, String> {
        let found = self.load(id).await?;
        Ok(found.filter(|entry| now < entry.expires).map(|entry| entry.sealed))
    }

    pub(super) async fn take(&self, id: FormId) -> Result<bool, String> {
        let Some(entry) = self.load(id).await? else { return Ok(false) };
        match self.run(&self.take, self.call(id).with(member(&entry.measured()))).await? {
            Value::Int(taken) => Ok(taken > 0),
            _ => Err(self.odd()),
        }
    }

    pub(super) fn close(&self) {
        self.redis.close();
    }

    async fn load(&self, id: FormId) -> Result<Option<Entry>, String> {
        let mut command = redis::cmd("GET");
        command.arg(self.form(id));
        let answers = self.redis.run(vec![command]).await.map_err(|fault| fault.to_string())?;
        match answers.into_iter().next() {
            Some(Ok(Value::Nil)) => Ok(None),
            Some(Ok(Value::BulkString(bytes))) => Ok(read_value(id, &bytes)),
            Some(Err(fault)) => Err(fault.to_string()),
            _ => Err(self.odd()),
        }
    }

    async fn run(&self, script: &Script, call: Call) -> Result<Value, String> {
        let answers = self.redis.call(script, &[call]).await.map_err(|fault| fault.to_string())?;
        let answer = answers.into_iter().next().ok_or_else(|| self.odd())?;
        answer.map_err(|fault| fault.to_string())
    }

    fn call(&self, id: FormId) -> Call {
        Call::on([self.form(id), format!("{}:{{forms}}:ends", self.redis.prefix()).into_bytes()])
    }

    fn form(&self, id: FormId) -> Vec<u8> {
        let mut name = format!("{}:{{forms}}:", self.redis.prefix());
        for byte in id.as_bytes() {
            // Writing into a string cannot fail.
            let _infallible = write!(name, "{byte:02x}");
        }
        name.into_bytes()
    }

    fn odd(&self) -> String {
        format!("the Redis `{}` gives no form", self.redis.name())
    }
}

/// When it ends, whose it is, and what is sealed.
fn value(entry: &Entry) -> Vec<u8> {
    let ends = entry.expires.as_millis().to_be_bytes();
    [ends.as_slice(), entry.whose.as_bytes(), &entry.sealed].concat()
}

fn read_value(id: FormId, value: &[u8]) -> Option<Entry> {
    let (ends, rest) = value.split_first_chunk()?;
    let (whose, sealed) = rest.split_first_chunk()?;
    Some(Entry {
        id,
        whose: Whose::from_bytes(*whose),
        expires: Timestamp::from_millis(i64::from_be_bytes(*ends)),
        sealed: sealed.to_vec(),
    })
}

/// Which it is, whose, and how large.
fn member(kept: &Kept) -> Vec<u8> {
    let bytes = u32::try_from(kept.bytes).unwrap_or(u32::MAX).to_be_bytes();
    [kept.id.as_bytes().as_slice(), kept.whose.as_bytes(), &bytes].concat()
}

fn read_member(value: &Value) -> Option<Kept> {
    let Value::BulkString(member) = value else { return None };
    let (id, rest) = member.split_first_chunk()?;
    let (whose, bytes) = rest.split_first_chunk()?;
    let bytes = u32::from_be_bytes(bytes.try_into().ok()?);
    Some(Kept {
        id: FormId::from_bytes(*id),
        whose: Whose::from_bytes(*whose),
        bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
    })
}

/// A form and the ends; the present, its end, what is kept, its member, and how long keys live. Answers the
/// members of all, the newest first.
const ADD: &str = "
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE')) do
  redis.call('ZREM', KEYS[2], member)
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return redis.call('ZRANGE', KEYS[2], 0, -1, 'REV')";

/// A form and the ends; its member. Answers 1 to the one who takes it.
const TAKE: &str = "
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])";
