//! What Redis does in one step, in Lua; each works on one slot of a cluster.
//!
//! Invariant: the two keys of a session come and go together.

use crate::storage::redis::Script;

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) load: Script,
    pub(super) insert: Script,
    pub(super) touch: Script,
    pub(super) remove: Script,
    pub(super) places: Script,
    pub(super) prune: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            load: Script::new(LOAD),
            insert: Script::new(INSERT),
            touch: Script::new(TOUCH),
            remove: Script::new(REMOVE),
            places: Script::new(PLACES),
            prune: Script::new(PRUNE),
        }
    }
}

/// `s`, `t`. Answers both values, of one moment.
const LOAD: &str = "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}";

/// `s`, `t`; their values; their lives in milliseconds. Answers 1, or 0 where the id is taken.
const INSERT: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
return 1";

/// `s`, `t`; last seen, the value of `t` and its life, what is left of the session, the life of `s`,
/// and what follows the user in `s` where that changes. Answers the key that sealed the record before,
/// or nothing where nothing was done.
///
/// The life of `s` is extended only when it must be: every change of `s` is told to all gateways.
const TOUCH: &str = "
local s = redis.call('GET', KEYS[1])
local t = redis.call('GET', KEYS[2])
if not s or not t or string.len(s) < 46 or string.byte(s) ~= 1 then return false end
local seen = tonumber(string.match(t, '^(-?%d+) ', 33))
if not seen then return false end
local newer = seen <= tonumber(ARGV[1])
if not newer and not ARGV[6] then return false end
if newer then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
local head = 42 + string.byte(s, 42)
if ARGV[6] then
  redis.call('SET', KEYS[1], string.sub(s, 1, head) .. ARGV[6], 'PX', ARGV[5])
else
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
end
return string.sub(s, head + 1, head + 4)";

/// `s`, `t`. Answers the head of what was there, an empty text where it was no session, or nothing.
const REMOVE: &str = "
local s = redis.pcall('GET', KEYS[1])
if type(s) == 'table' then
  if not string.find(s.err, 'WRONGTYPE', 1, true) then return s end
  s = ''
end
redis.call('DEL', KEYS[1], KEYS[2])
if not s then return false end
if string.len(s) < 46 or string.byte(s) ~= 1 then return '' end
return string.sub(s, 1, 46 + string.byte(s, 42))";

/// A sorted set; an end and an id, or two empty texts; a limit. Answers the members and scores behind
/// that place. Any number of sessions may end at the same millisecond, so the place is searched by
/// halves. Bytes are compared one by one: Lua's own order of texts depends on the locale.
const PLACES: &str = "
local function is_behind(one, other)
  for i = 1, string.len(one) do
    local a, b = string.byte(one, i), string.byte(other, i) or -1
    if a ~= b then return a > b end
  end
  return false
end
local low = 0
if ARGV[1] ~= '' then
  low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
  local high = redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[1])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
    if is_behind(member, ARGV[2]) then high = middle else low = middle + 1 end
  end
end
return redis.call('ZRANGE', KEYS[1], low, low + ARGV[3] - 1, 'WITHSCORES')";

/// A sorted set; a score. Takes out a few of the members that are not behind it: whatever was left
/// behind, no login is held up by more of it.
const PRUNE: &str = "
local old = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 50)
if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
return #old";
