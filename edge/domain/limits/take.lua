-- Many calls at once. Of each, all windows and its place among the jobs that may run at once are taken, or nothing is.
-- ARGV[1], as MessagePack: the day keys by name, each as the SHA-1 that the edge knows it by: a key is in no slow log;
--   and the calls: the day key's name, now in ms, lease id, most leases (0: none asked), lease in ms, the lease sets of
--   yesterday and today, the former and the current bucket of each window, and limit, length in ms, cost, want of each.
-- Answers as MessagePack, for each call: -1 where the edge must learn the day's key first, else: admitted, leases held,
--   and for each window the former bucket, the current one and what was granted.
local given = cmsgpack.unpack(ARGV[1])
local is_known, answers = {}, {}
for name, digest in pairs(given[1]) do
  local key = redis.call('GET', name)
  is_known[name] = key and redis.sha1hex(key) == digest
end

local function held(sets, now)
  local leased = 0
  for _, set in ipairs(sets) do
    redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
    leased = leased + redis.call('ZCARD', set)
  end
  return leased
end

local function take(day_key, now, lease, most, lease_ms, sets, buckets, numbers)
  if not is_known[day_key] then return {-1} end
  local admitted, leased = 1, 0
  if most > 0 then
    leased = held(sets, now)
    if leased >= most then admitted = 0 end
  end
  local answer = {1, 0}
  local counts = #buckets > 0 and redis.call('MGET', unpack(buckets)) or {}
  for i = 1, #buckets / 2 do
    local limit, length, cost, want = unpack(numbers, i * 4 - 3, i * 4)
    local former, current = tonumber(counts[i * 2 - 1] or '0'), tonumber(counts[i * 2] or '0')
    local available = math.max(0, math.floor((limit * length - former * (length - now % length)) / length) - current)
    if available < cost then admitted = 0 end
    answer[i * 3], answer[i * 3 + 1], answer[i * 3 + 2] = former, current, math.min(math.max(cost, want), available)
  end
  answer[1], answer[2] = admitted, leased
  for i = 1, #buckets / 2 do
    local granted = admitted == 1 and answer[i * 3 + 2] or 0
    answer[i * 3 + 2] = granted
    if granted > 0 then
      answer[i * 3 + 1] = redis.call('INCRBY', buckets[i * 2], granted)
      if answer[i * 3 + 1] == granted then
        local length = numbers[i * 4 - 2]
        redis.call('PEXPIRE', buckets[i * 2], 2 * length - now % length)
      end
    end
  end
  if admitted == 1 and most > 0 then
    redis.call('ZADD', sets[2], now + lease_ms, lease)
    redis.call('PEXPIRE', sets[2], 2 * lease_ms)
    answer[2] = leased + 1
  end
  return answer
end

for i, call in ipairs(given[2]) do
  answers[i] = take(unpack(call, 1, 8))
end
return cmsgpack.pack(answers)
