"""What the Redis server does in one step: the rules of `resilience.inbox`, said once more in Lua.

The server runs a script as a whole, by its own clock, and writes all its changes to the append-only file
as one transaction. Tests hold scripts and rules against each other. Keys and their fields: `redis_store`.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%.0f', number) end
"""

CLAIM = (
    _NOW
    + """
-- KEYS: entry. ARGV: owner, digest, lease and retention in ms, most attempts; owners that are dead.
local key, owner, digest = KEYS[1], ARGV[1], ARGV[2]
local lease, retention, most = ARGV[3], ARGV[4], tonumber(ARGV[5])
local phase, holder, leased_at, leased_for, attempts, body, reply = unpack(redis.call(
    'HMGET', key, 'phase', 'owner', 'leased_at', 'lease', 'attempts', 'digest', 'reply'))
if phase and body ~= digest then return {'mismatch', 0, '', 0} end
if phase and phase ~= 'working' then return {phase, tonumber(attempts), reply or '', 0} end
if not phase then
    attempts = 1
else
    attempts = tonumber(attempts)
    if holder ~= owner then
        local is_dead = false
        for item = 6, #ARGV do is_dead = is_dead or ARGV[item] == holder end
        if not is_dead and math.abs(now - tonumber(leased_at)) < tonumber(leased_for) then
            return {'busy', attempts, '', 0}
        end
        attempts = attempts + 1
    end
end
redis.call('HSET', key, 'phase', 'working', 'owner', owner, 'leased_at', whole(now), 'lease', lease,
    'attempts', attempts, 'digest', digest)
redis.call('PEXPIRE', key, retention)
if attempts > most then return {'dead', attempts, '', 1} end
if attempts == 1 then return {'new', 1, '', 1} end
return {'takeover', attempts, '', 1}
"""
)

RENEW = (
    _NOW
    + """
-- KEYS: entry. ARGV: owner, lease and retention in ms.
local phase, holder = unpack(redis.call('HMGET', KEYS[1], 'phase', 'owner'))
if phase ~= 'working' or holder ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'leased_at', whole(now), 'lease', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)

RELEASE = """
-- KEYS: entry. ARGV: owner.
local phase, holder, attempts = unpack(redis.call('HMGET', KEYS[1], 'phase', 'owner', 'attempts'))
if phase ~= 'working' or holder ~= ARGV[1] then return 0 end
if tonumber(attempts) == 1 then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'owner', '', 'lease', 0, 'attempts', tonumber(attempts) - 1)
return 1
"""

COMMIT = """
-- KEYS: entry (or any of the agent's), snapshots, outgoing, letters, order, number.
-- ARGV: owner ('' for no claim), outcome, reply, retention in ms, letters to keep; then seven lists, each
-- as its length and its items: put (key, value), remove (key), send (id, JSON), tried (id, JSON),
-- settled (id), bury (id, JSON), drop (id).
local entry, snapshots, outgoing, letters, order, number = unpack(KEYS)
local owner, outcome, reply, retention, most = unpack(ARGV, 1, 5)
if owner ~= '' then
    local phase, holder = unpack(redis.call('HMGET', entry, 'phase', 'owner'))
    if not phase or holder ~= owner then return 0 end
    if phase ~= 'working' then return 1 end
    if outcome ~= 'working' then
        redis.call('HSET', entry, 'phase', outcome, 'reply', reply)
        redis.call('PEXPIRE', entry, retention)
    end
end
local at = 6
local function each(width, act)
    local first = at + 1
    at = first + tonumber(ARGV[at]) * width
    for item = first, at - width, width do act(ARGV[item], ARGV[item + 1]) end
end
local function next_number() return string.format('%.0f', redis.call('INCR', number)) end
each(2, function(key, value) redis.call('HSET', snapshots, key, value) end)
each(1, function(key) redis.call('HDEL', snapshots, key) end)
local function place(id) return string.match(redis.call('HGET', outgoing, id) or '', '^%d+') end
each(2, function(id, json)
    redis.call('HSET', outgoing, id, (place(id) or next_number()) .. ' ' .. json)
end)
each(2, function(id, json)
    local found = place(id)
    if found then redis.call('HSET', outgoing, id, found .. ' ' .. json) end
end)
each(1, function(id) redis.call('HDEL', outgoing, id) end)
each(2, function(id, json)
    local score = next_number()
    if id == '' then id = score end
    if redis.call('HSETNX', letters, id, json) == 1 then redis.call('ZADD', order, score, id) end
end)
each(1, function(id)
    redis.call('ZREM', order, id)
    redis.call('HDEL', letters, id)
end)
while redis.call('ZCARD', order) > tonumber(most) do
    redis.call('HDEL', letters, redis.call('ZPOPMIN', order)[1])
end
return 1
"""

ALL = (CLAIM, RENEW, RELEASE, COMMIT)
