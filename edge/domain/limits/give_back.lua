-- KEYS: buckets. ARGV: how much goes back to each; what has expired meanwhile stays away.
for i = 1, #KEYS do
  local left = tonumber(redis.call('GET', KEYS[i]) or '0')
  if left > 0 then
    redis.call('DECRBY', KEYS[i], math.min(left, tonumber(ARGV[i])))
  end
end
return 0
