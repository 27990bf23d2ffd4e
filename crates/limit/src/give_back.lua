-- Gives back what one request was charged for under one rule. ARGV: kind, limit, length, quantum, cost, and what the charge is
-- given back by. What was charged to a run or a period that is over is nobody else's; to a run that an operator has forgiven, neither.
-- A bucket and a quota do not say when they were forgiven: a charge of before that is taken from what came after it.
local kept = redis.call('GET', KEYS[1])
if not kept then return {} end
local cost, by = tonumber(ARGV[5]), tonumber(ARGV[6])
if ARGV[1] == '0' then
  local runs = cmsgpack.unpack(kept)
  for j = 1, #runs, 2 do
    if runs[j] == by then
      runs[j + 1] = runs[j + 1] - cost
      if runs[j + 1] <= 0 then
        table.remove(runs, j + 1)
        table.remove(runs, j)
      end
      redis.call('SET', KEYS[1], cmsgpack.pack(runs), 'KEEPTTL')
      break
    end
  end
elseif ARGV[1] == '2' then
  local state = cmsgpack.unpack(kept)
  if state[1] == by then
    redis.call('SET', KEYS[1], cmsgpack.pack({by, math.max(state[2] - cost, 0)}), 'KEEPTTL')
  end
else
  local arrival = tonumber(kept) - tonumber(ARGV[3]) * cost
  redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'KEEPTTL')
end
return {}
