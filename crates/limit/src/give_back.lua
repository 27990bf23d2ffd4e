-- Gives back what one request was charged for under one rule. ARGV: kind, limit, length, quantum, cost.
local kept = redis.call('GET', KEYS[1])
if not kept then return {} end
local cost = tonumber(ARGV[5])
if ARGV[1] == '0' then
  local runs = cmsgpack.unpack(kept)
  while #runs > 0 and cost > 0 do
    local n = #runs
    local less = math.min(cost, runs[n])
    cost = cost - less
    runs[n] = runs[n] - less
    if runs[n] == 0 then runs[n], runs[n - 1] = nil, nil end
  end
  redis.call('SET', KEYS[1], cmsgpack.pack(runs), 'KEEPTTL')
elseif ARGV[1] == '2' then
  local state = cmsgpack.unpack(kept)
  redis.call('SET', KEYS[1], cmsgpack.pack({state[1], math.max(state[2] - cost, 0)}), 'KEEPTTL')
else
  local arrival = tonumber(kept) - tonumber(ARGV[3]) * cost
  redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'KEEPTTL')
end
return {}
