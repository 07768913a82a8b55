//! Meters in the Redis that keeps the sessions, under `PREFIX:f:DIGEST`.
//!
//! Invariants: a meter is changed in one step, so that gateways together do not pass a limit; what nobody
//! adds to expires.

use std::fmt::Write as _;
use std::time::Duration;

use redis::Value;

use super::meter::Limit;
use super::{Claim, Key, Reach, Release};
use crate::clock::Timestamp;
use crate::login::Rate;
use crate::storage::redis::{Answer, Call, Location, Redis, Script};

/// Meters in a Redis.
#[derive(Debug)]
pub(super) struct RedisMeters {
    redis: Redis,
    take: Script,
    release: Script,
}

impl RedisMeters {
    /// Begins to connect. A Redis that is down is no error.
    pub(super) async fn open(location: Location) -> Self {
        let redis = Redis::open(location).await;
        Self { redis, take: Script::new(TAKE), release: Script::new(RELEASE) }
    }

    /// The narrow meter first: whoever waits there fills no backstop. Nor does who waits at one backstop fill
    /// the other.
    pub(super) async fn take(&self, claims: &[Claim], now: Timestamp) -> Result<Duration, String> {
        let (narrow, wide): (Vec<Claim>, Vec<Claim>) =
            claims.iter().partition(|claim| claim.reach == Reach::Narrow);
        let mut counted = Vec::with_capacity(claims.len());
        for claims in [narrow, wide] {
            let waits = self.take_all(&claims, now).await?;
            let wait = waits.iter().max().copied().unwrap_or_default();
            counted
                .extend(claims.iter().zip(waits).filter(|(_, wait)| wait.is_zero()).map(|(claim, _)| *claim));
            if !wait.is_zero() {
                self.release(&counted, Release::Withdrawn, now).await?;
                return Ok(wait);
            }
        }
        Ok(Duration::ZERO)
    }

    pub(super) async fn release(
        &self,
        claims: &[Claim],
        release: Release,
        now: Timestamp,
    ) -> Result<(), String> {
        let calls: Vec<Call> = claims
            .iter()
            .map(|claim| {
                let deed = if claim.is_forgotten_by(release) { "forget" } else { "give back" };
                self.call(claim, now).with(deed)
            })
            .collect();
        self.redis.call(&self.release, &calls).await.map(drop).map_err(|fault| fault.to_string())
    }

    pub(super) fn close(&self) {
        self.redis.close();
    }

    /// How long each has to wait; zero where the attempt is counted.
    async fn take_all(&self, claims: &[Claim], now: Timestamp) -> Result<Vec<Duration>, String> {
        let calls: Vec<Call> = claims.iter().map(|claim| self.call(claim, now)).collect();
        let answers = self.redis.call(&self.take, &calls).await.map_err(|fault| fault.to_string())?;
        answers.into_iter().map(|answer| self.wait(answer)).collect()
    }

    fn wait(&self, answer: Answer) -> Result<Duration, String> {
        match answer.map_err(|fault| fault.to_string())? {
            Value::Int(milliseconds) => Ok(Duration::from_millis(milliseconds.max(0).unsigned_abs())),
            _ => Err(format!("the Redis `{}` gives no number", self.redis.name())),
        }
    }

    fn call(&self, claim: &Claim, now: Timestamp) -> Call {
        let Limit { rate: Rate { count, period }, longest } = claim.limit;
        let [period, longest] =
            [period, longest].map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4).max(1));
        Call::on([self.name(claim.key)])
            .with_number(now.as_millis())
            .with_number(i64::from(count.max(1)))
            .with_number((period / i64::from(count.max(1))).max(1))
            .with_number(period)
            .with_number(longest)
    }

    fn name(&self, key: Key) -> Vec<u8> {
        let mut name = format!("{}:f:", self.redis.prefix());
        for byte in key {
            // Writing into a string cannot fail.
            let _infallible = write!(name, "{byte:02x}");
        }
        name.into_bytes()
    }
}

/// A meter; the present, the failures that are free, how long one is remembered, the period, and the longest
/// wait. Answers the wait in milliseconds, or 0 when the attempt is counted. The same rule as in `meter`.
const TAKE: &str = "
local failures, till = 0, 0
local found = redis.call('GET', KEYS[1])
if found then
  local f, t = string.match(found, '^(%d+) (%d+)$')
  if f then failures, till = tonumber(f), tonumber(t) end
end
local now, free, step, period = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local longest = tonumber(ARGV[5])
local wait = 0
if failures >= free then wait = math.min(till - now, longest) end
if wait > 0 then return wait end
failures = math.max(0, failures - math.max(0, math.floor((now - till) / step))) + 1
local delay = 0
if failures >= free then delay = math.min(1000 * 2 ^ math.min(failures - free, 30), longest) end
redis.call('SET', KEYS[1], string.format('%d %d', failures, now + delay), 'PX', string.format('%d', delay + 2 * period))
return 0";

/// A meter; the same, and what becomes of it.
const RELEASE: &str = "
if ARGV[6] == 'forget' then return redis.call('DEL', KEYS[1]) end
local found = redis.call('GET', KEYS[1])
local f, t = string.match(found or '', '^(%d+) (%d+)$')
if not f then return 0 end
local failures, till = math.max(0, tonumber(f) - 1), math.min(tonumber(t), tonumber(ARGV[1]))
redis.call('SET', KEYS[1], string.format('%d %d', failures, till), 'PX', string.format('%d', 2 * tonumber(ARGV[4])))
return 0";
