-- All windows of one call, and its place among the jobs that may run at once: all are taken, or none.
-- KEYS: the day's key; the lease sets of yesterday and today; then each window's former and current bucket.
-- ARGV: the day's key as the edge knows it; now in ms; lease id, most leases (0: none asked), lease in ms;
--       then for each window: limit, length in ms, cost, want.
-- Answers -1 where the edge must learn the day's key first, else: admitted, leases held, and for each window the former
-- bucket, the current one and what was granted.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local now, most = tonumber(ARGV[2]), tonumber(ARGV[4])
local admitted, leased, answer = 1, 0, {1, 0}
if most > 0 then
  for i = 2, 3 do
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    leased = leased + redis.call('ZCARD', KEYS[i])
  end
  if leased >= most then admitted = 0 end
end
local windows = (#KEYS - 3) / 2
for i = 1, windows do
  local at = 5 + (i - 1) * 4
  local limit, length, cost, want = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local former = tonumber(redis.call('GET', KEYS[2 + i * 2]) or '0')
  local current = tonumber(redis.call('GET', KEYS[3 + i * 2]) or '0')
  local available = math.max(0, math.floor((limit * length - former * (length - now % length)) / length) - current)
  if available < cost then admitted = 0 end
  answer[i * 3], answer[i * 3 + 1], answer[i * 3 + 2] = former, current, math.min(math.max(cost, want), available)
end
answer[1], answer[2] = admitted, leased
for i = 1, windows do
  local granted = admitted == 1 and answer[i * 3 + 2] or 0
  answer[i * 3 + 2] = granted
  if granted > 0 then
    local length = tonumber(ARGV[5 + (i - 1) * 4 + 2])
    answer[i * 3 + 1] = redis.call('INCRBY', KEYS[3 + i * 2], granted)
    if answer[i * 3 + 1] == granted then
      redis.call('PEXPIRE', KEYS[3 + i * 2], 2 * length - now % length)
    end
  end
end
if admitted == 1 and most > 0 then
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[5]), ARGV[3])
  redis.call('PEXPIRE', KEYS[3], 2 * tonumber(ARGV[5]))
  answer[2] = leased + 1
end
return answer
