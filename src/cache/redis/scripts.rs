//! What Redis does in one step. Scripts are sent once and named by their hash afterwards.

use std::sync::LazyLock;

use fred::error::Error;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::prelude::{Client, FromValue, Value};
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand};

/// A ticker takes the place of the kept one unless that is newer: by lease token and number, never by clocks. One from
/// REST does not replace a stream's that came at `ARGV[5]` or later.
/// `KEYS[1]` tickers; `ARGV`: symbol, token, seq, `s` or `r`, the oldest stream that holds, received at, JSON, lifetime ms.
pub(super) static PUT_TICKER: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  local t, s, from, at = string.match(kept, '^(%d+) (%d+) (%a) (%d+) ')
  t, s, at = tonumber(t), tonumber(s), tonumber(at)
  local token, seq = tonumber(ARGV[2]), tonumber(ARGV[3])
  local newer = token > t or (token == t and seq > s)
  local same = token == t and seq == s
  local new = ARGV[4]
  if new == 's' and from == 's' and not newer then return 0 end
  if new == 's' and from == 'r' and not (newer or same) then return 0 end
  if new == 'r' and from == 's' and at > tonumber(ARGV[5]) then return 0 end
  if new == 'r' and from == 'r' and not (newer or (same and tonumber(ARGV[6]) >= at)) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return 1",
    )
});

/// A candle takes the place of the kept one of its time unless that is newer; of a series the newest `ARGV[6]` stay.
/// `KEYS`: candles of the series, series; `ARGV`: open time, token, seq, `1` if closed, JSON, how many stay, lifetime ms,
/// the series' name.
pub(super) static PUT_CANDLE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  local t, s, closed = string.match(kept, '^(%d+) (%d+) (%d) ')
  t, s, closed = tonumber(t), tonumber(s), tonumber(closed)
  local token, seq = tonumber(ARGV[2]), tonumber(ARGV[3])
  if token < t or (token == t and (seq < s or (seq == s and tonumber(ARGV[4]) < closed))) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
if not kept then
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

/// Forgets the candles of all series. `KEYS[1]`: series; `ARGV[1]`: what the keys of candles begin with.
pub(super) static CLEAR_CANDLES: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', ARGV[1] .. name) end
return redis.call('DEL', KEYS[1])",
    )
});

/// Takes a lease that nobody holds; the token is larger than every one before, also where Redis has forgotten those: the
/// first one is the time in microseconds. `KEYS`: lease, token; `ARGV`: lifetime ms.
pub(super) static TAKE_LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local now = redis.call('TIME')
local token = tonumber(redis.call('GET', KEYS[2]) or '0') + 1
local least = tonumber(now[1]) * 1000000 + tonumber(now[2])
if token < least then token = least end
token = string.format('%.0f', token)
redis.call('SET', KEYS[2], token, 'PX', 604800000)
redis.call('SET', KEYS[1], token, 'NX', 'PX', ARGV[1])
return tonumber(token)",
    )
});

/// `KEYS[1]`: lease; `ARGV`: token, lifetime ms.
pub(super) static RENEW_LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0",
    )
});

/// Deletes a key that still has our value. `KEYS[1]`: key; `ARGV[1]`: value.
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// Wants a symbol until a while from now, unless too many are wanted. `KEYS[1]`: demand; `ARGV`: symbol, ms, the most.
pub(super) static WANT: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local kept = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not kept and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
local til = now + tonumber(ARGV[2])
if not kept or tonumber(kept) < til then redis.call('ZADD', KEYS[1], string.format('%.0f', til), ARGV[1]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1",
    )
});

/// What is wanted now. `KEYS[1]`: demand.
pub(super) static WANTED: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')",
    )
});

/// Spends some of a budget that replicas share, over a sliding window of a hundred grains.
/// `KEYS`: budget, ban; `ARGV`: weight, the most of a window, grain ms, what the asking replica used itself, how long it
/// is banned that it knows. Gives `{0, used}` if it was spent, `{1, ms}` if there will be room in so long, `{2, ms}` while
/// the exchange bans us.
pub(super) static SPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
local known, ban = tonumber(ARGV[5]), redis.call('PTTL', KEYS[2])
if known > 0 and known > ban then redis.call('SET', KEYS[2], '1', 'PX', known); ban = known end
if ban > 0 then return {2, ban} end
local now = redis.call('TIME')
local grain = tonumber(ARGV[3])
local at = math.floor((tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)) / grain)
local all, used, times = redis.call('HGETALL', KEYS[1]), 0, {}
for i = 1, #all, 2 do
  local when, weight = tonumber(all[i]), tonumber(all[i + 1])
  if when <= at - 106 then redis.call('HDEL', KEYS[1], all[i])
  else used = used + weight; times[#times + 1] = {when, weight} end
end
local own = tonumber(ARGV[4])
if own > used then redis.call('HINCRBY', KEYS[1], at, own - used); times[#times + 1] = {at, own - used}; used = own end
local weight, most = tonumber(ARGV[1]), tonumber(ARGV[2])
if weight > most then weight = most end
if used + weight > most then
  table.sort(times, function(a, b) return a[1] < b[1] end)
  local left, wait = used, 0
  for _, one in ipairs(times) do
    if left + weight <= most then break end
    left = left - one[2]
    wait = (one[1] + 106 - at) * grain
  end
  return {1, math.max(wait, 1)}
end
if weight > 0 then redis.call('HINCRBY', KEYS[1], at, weight) end
redis.call('PEXPIRE', KEYS[1], grain * 110)
return {0, used + weight}",
    )
});

/// Bans last as long as the longest word of the exchange. `KEYS[1]`: ban; `ARGV[1]`: ms.
pub(super) static BAN: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        r"
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 1",
    )
});

/// A client used some of its limit. `KEYS[1]`: limit; `ARGV`: until so much is free again, and at most until all is, in µs.
/// Gives how long until all is free.
pub(super) static USE_LIMIT: LazyLock<Script> = LazyLock::new(|| {
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

/// Runs a script on the node of its first key. Commands of one connection are not held up by it.
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
