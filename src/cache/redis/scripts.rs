//! Lua scripts: atomic operations in Redis. Loaded once, then called by their hash.

use std::sync::LazyLock;

use fred::error::Error;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::prelude::{Client, FromValue, Value};
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand};

/// Stores a ticker unless the stored one is newer: by lease token and sequence number, never by clocks. One from REST
/// does not replace one from a stream that was received after `ARGV[5]`. Returns whether it was stored.
/// `KEYS[1]`: tickers; `ARGV`: symbol, token, seq, `s` (stream) or `r` (REST), that time (ms), received at (ms), JSON,
/// lifetime (ms).
pub(super) static PUT_TICKER: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local t, s, old, at = string.match(stored, '^(%d+) (%d+) (%a) (%d+) ')
  t, s, at = tonumber(t), tonumber(s), tonumber(at)
  local token, seq = tonumber(ARGV[2]), tonumber(ARGV[3])
  local newer = token > t or (token == t and seq > s)
  local same = token == t and seq == s
  local new = ARGV[4]
  if new == 's' and old == 's' and not newer then return 0 end
  if new == 's' and old == 'r' and not (newer or same) then return 0 end
  if new == 'r' and old == 's' and at > tonumber(ARGV[5]) then return 0 end
  if new == 'r' and old == 'r' and not (newer or (same and tonumber(ARGV[6]) >= at)) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return 1",
    )
});

/// Stores a candle unless the stored one with its open time is newer. The newest `ARGV[6]` candles of a series are
/// retained. Returns whether it was stored.
/// `KEYS`: candles of the series, series; `ARGV`: open time (ms), token, seq, `1` if closed else `0`, JSON, number of
/// retained candles, lifetime (ms), name of the series.
pub(super) static PUT_CANDLE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local t, s, closed = string.match(stored, '^(%d+) (%d+) (%d) ')
  t, s, closed = tonumber(t), tonumber(s), tonumber(closed)
  local token, seq = tonumber(ARGV[2]), tonumber(ARGV[3])
  if token < t or (token == t and (seq < s or (seq == s and tonumber(ARGV[4]) < closed))) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
if not stored then
  local times = redis.call('HKEYS', KEYS[1])
  if #times > tonumber(ARGV[6]) then
    table.sort(times, function(a, b) return tonumber(a) < tonumber(b) end)
    for i = 1, #times - tonumber(ARGV[6]) do redis.call('HDEL', KEYS[1], times[i]) end
  end
  redis.call('SADD', KEYS[2], ARGV[8])
end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return 1",
    )
});

/// Deletes the candles of all series. `KEYS[1]`: series; `ARGV[1]`: prefix of the candles' keys.
pub(super) static CLEAR_CANDLES: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', ARGV[1] .. name) end
return redis.call('DEL', KEYS[1])",
    )
});

/// Acquires a free lease. Returns its token, or 0 if the lease is held. A token is greater than all before, even if
/// Redis has lost those: it is at least the time in microseconds. `KEYS`: lease, token; `ARGV`: lifetime (ms).
pub(super) static ACQUIRE_LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local now = redis.call('TIME')
local token = tonumber(redis.call('GET', KEYS[2]) or '0') + 1
local min = tonumber(now[1]) * 1000000 + tonumber(now[2])
if token < min then token = min end
token = string.format('%.0f', token)
redis.call('SET', KEYS[2], token, 'PX', 604800000)
redis.call('SET', KEYS[1], token, 'NX', 'PX', ARGV[1])
return tonumber(token)",
    )
});

/// Extends a lease. Returns 0 if its token has changed. `KEYS[1]`: lease; `ARGV`: token, lifetime (ms).
pub(super) static RENEW_LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0",
    )
});

/// Deletes a key if it still has this value. `KEYS[1]`: key; `ARGV[1]`: value.
pub(super) static DELETE_IF_EQUAL: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// Adds demand for a symbol. Returns 0 if too many symbols have demand. `KEYS[1]`: demand; `ARGV`: symbol, TTL (ms),
/// maximum number of symbols.
pub(super) static ADD_DEMAND: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local stored = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not stored and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
local expiry = now + tonumber(ARGV[2])
if not stored or tonumber(stored) < expiry then redis.call('ZADD', KEYS[1], string.format('%.0f', expiry), ARGV[1]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1",
    )
});

/// Lists the symbols with demand. `KEYS[1]`: demand.
pub(super) static LIST_DEMAND: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')",
    )
});

/// Spends a part of a shared budget, over a sliding window of a hundred time slots.
/// `KEYS`: budget, ban; `ARGV`: weight, maximum per window, slot length (ms), usage that the requesting replica knows
/// of, remaining time of a ban that it knows of (ms). Returns `{0, used}` if it was spent, `{1, ms}` with the time
/// until the budget is available, or `{2, ms}` with the remaining time of a ban.
pub(super) static SPEND_BUDGET: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local known_ban, ban = tonumber(ARGV[5]), redis.call('PTTL', KEYS[2])
if known_ban > 0 and known_ban > ban then redis.call('SET', KEYS[2], '1', 'PX', known_ban); ban = known_ban end
if ban > 0 then return {2, ban} end
local now = redis.call('TIME')
local slot = tonumber(ARGV[3])
local at = math.floor((tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)) / slot)
local all, used, times = redis.call('HGETALL', KEYS[1]), 0, {}
for i = 1, #all, 2 do
  local when, weight = tonumber(all[i]), tonumber(all[i + 1])
  if when <= at - 106 then redis.call('HDEL', KEYS[1], all[i])
  else used = used + weight; times[#times + 1] = {when, weight} end
end
local known = tonumber(ARGV[4])
if known > used then
  redis.call('HINCRBY', KEYS[1], at, known - used)
  times[#times + 1] = {at, known - used}
  used = known
end
local weight, max = tonumber(ARGV[1]), tonumber(ARGV[2])
if weight > max then weight = max end
if used + weight > max then
  table.sort(times, function(a, b) return a[1] < b[1] end)
  local left, wait = used, 0
  for _, one in ipairs(times) do
    if left + weight <= max then break end
    left = left - one[2]
    wait = (one[1] + 106 - at) * slot
  end
  return {1, math.max(wait, 1)}
end
if weight > 0 then redis.call('HINCRBY', KEYS[1], at, weight) end
redis.call('PEXPIRE', KEYS[1], slot * 110)
return {0, used + weight}",
    )
});

/// Records a ban unless a longer one is stored. `KEYS[1]`: ban; `ARGV[1]`: duration (ms).
pub(super) static BAN: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 1",
    )
});

/// Adds usage of a client. `KEYS[1]`: limit; `ARGV`: time in which the limit refills, maximum of the result (µs).
/// Returns the time until the limit is full again (µs).
pub(super) static ADD_USAGE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])
local free = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
free = math.min(free + tonumber(ARGV[1]), now + tonumber(ARGV[2]))
redis.call('SET', KEYS[1], string.format('%.0f', free), 'PX', math.floor((free - now) / 1000) + 1)
return free - now",
    )
});

/// Runs a script on the node of its first key. Does not block other commands of the connection.
pub(super) async fn run<T: FromValue>(
    client: &Client,
    script: &Script,
    keys: &[&str],
    arguments: Vec<Value>,
) -> Result<T, Error> {
    let call = || {
        let mut all: Vec<Value> = Vec::with_capacity(2 + keys.len() + arguments.len());
        all.push(script.sha1().clone().into());
        all.push(i64::try_from(keys.len()).unwrap_or(i64::MAX).into());
        all.extend(keys.iter().map(|key| Value::from(*key)));
        all.extend(arguments.iter().cloned());
        let node = keys.first().map_or(ClusterHash::Random, |key| ClusterHash::from(*key));
        client.custom(CustomCommand::new_static("EVALSHA", node, false), all)
    };
    match call().await {
        Err(error) if error.details().starts_with("NOSCRIPT") => {
            if let Some(lua) = script.lua() {
                client.script_load_cluster::<(), _>(lua.clone()).await?;
            }
            call().await
        }
        done => done,
    }
}
