-- All rules of one request: asked first, and charged only if all of them agree.
-- KEYS: what each rule counts. ARGV for each: kind, limit, length, quantum, cost, patience, want; after all of them perhaps
-- the microsecond of a clock that a test turns.
-- Kinds are 0 for a window, 1 for a bucket, 2 for a quota, whose length is its period in seconds, and whose quantum the second
-- from which periods are counted; a length of 0 is a month of UTC. A window has a length and a quantum in milliseconds; a bucket an interval in microseconds for its length.
-- Patience is in milliseconds; -1 stands for a rule that is not obeyed. Want is how much is charged where there is room for it, and
-- at least the cost; 0 for a rule that is looked at and not charged, whatever the others say.
-- Answers for each: whether it lets pass, how many are left, milliseconds until there is more or it would let pass, how much
-- was charged, and what that is to be given back by: the label of its run, or the end of its period.
local fields, said = 7, 5
local us = tonumber(ARGV[#KEYS * fields + 1])
if not us then
  local time = redis.call('TIME')
  us = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local ms = math.floor(us / 1000)
local answer, held, full = {}, {}, false

local function window(runs, limit, length, cost)
  local live, used = {}, 0
  for j = 1, #runs, 2 do
    if runs[j] + length + 1 > ms then
      live[#live + 1], live[#live + 2] = runs[j], runs[j + 1]
      used = used + runs[j + 1]
    end
  end
  if used + cost <= limit then
    local reset = length
    if live[1] then reset = live[1] + length + 1 - ms end
    return live, 1, limit - used - cost, reset
  end
  local needed = used + cost - limit
  for j = 1, #live, 2 do
    needed = needed - live[j + 1]
    if needed <= 0 then return live, 0, 0, live[j] + length + 1 - ms end
  end
  return live, 0, 0, length
end

local function bucket(arrival, burst, interval, cost)
  local ahead = math.max(arrival - us, 0) + interval * cost
  local depth = burst * interval
  if ahead > depth then return ahead, 0, 0, math.ceil((ahead - depth) / 1000) end
  return ahead, 1, math.floor((depth - ahead) / interval), math.ceil(interval / 1000)
end

-- The first second after the month of `now`, by years that begin in March and eras of 400 years.
local function month(now)
  local days = math.floor(now / 86400) + 719468
  local era = math.floor(days / 146097)
  local day = days - era * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  local function first(y) return 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400) end
  local number = math.floor((5 * (day - first(year)) + 2) / 153)
  local next = number == 11 and first(year + 1) or first(year) + math.floor((153 * (number + 1) + 2) / 5)
  return (era * 146097 + next - 719468) * 86400
end

local function quota(kept, limit, period, origin, cost)
  local now = math.floor(us / 1000000)
  local ends = period == 0 and month(now) or now - (now - origin) % period + period
  local used = kept[1] == ends and kept[2] or 0
  local wait = (ends - now) * 1000
  if used + cost <= limit then return {ends, used}, 1, limit - used - cost, wait end
  return {ends, used}, 0, 0, wait
end

for i, key in ipairs(KEYS) do
  local a = (i - 1) * fields
  local kind, limit, length = ARGV[a + 1], tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local cost, patience = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
  local kept = redis.call('GET', key)
  local state, free, left, wait
  if kind == '0' then
    state, free, left, wait = window(kept and cmsgpack.unpack(kept) or {}, limit, length, cost)
  elseif kind == '2' then
    state, free, left, wait = quota(kept and cmsgpack.unpack(kept) or {}, limit, length, tonumber(ARGV[a + 4]), cost)
  else
    state, free, left, wait = bucket(tonumber(kept or 0), limit, length, cost)
  end
  if free == 0 and patience >= 0 and wait > patience then full = true end
  held[i] = state
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4], answer[n + 5] = free, left, wait, 0, 0
end

if full then return answer end

for i, key in ipairs(KEYS) do
  local a = (i - 1) * fields
  local kind, length, quantum = ARGV[a + 1], tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local cost, patience, want = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7])
  local n = (i - 1) * said
  local free, left = answer[n + 1], answer[n + 2]
  if want > 0 and (free == 1 or patience >= 0) then
    local more = 0
    if free == 1 then more = math.max(math.min(want - cost, left), 0) end
    cost = cost + more
    answer[n + 2], answer[n + 4] = left - more, cost
    if kind == '0' then
      local runs, label = held[i], ms - ms % quantum + quantum - 1
      local last = #runs
      if last > 0 and runs[last - 1] >= label then
        runs[last] = runs[last] + cost
        answer[n + 5] = runs[last - 1]
      else
        runs[last + 1], runs[last + 2] = label, cost
        answer[n + 5] = label
      end
      redis.call('SET', key, cmsgpack.pack(runs), 'PX', label + length + 2 - ms)
    elseif kind == '2' then
      local ends, used = held[i][1], held[i][2] + cost
      redis.call('SET', key, cmsgpack.pack({ends, used}), 'EXAT', ends)
      answer[n + 5] = ends
    else
      local ahead = held[i] + more * length
      redis.call('SET', key, string.format('%.0f', us + ahead), 'PX', math.ceil(ahead / 1000) + 1)
    end
  end
end
return answer
