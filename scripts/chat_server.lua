-- A chat server: what one says all the others read.
--
-- Join with nc or telnet; the first line is your name.
--
-- Each client has a queue of lines that are still to be sent, and a task that
-- sends them. So nobody waits for a slow client: one that has not read the last
-- hundred lines, or takes none for ten seconds, is dropped.

local async = require "asyncbox"
local net = async.net

local BEHIND_MAX, STUCK_S = 100, 10
local LINE_MAX, NAME_MAX = 1000, 20

local port = math.tointeger(tonumber(arg[1] or 8000))
if #arg > 1 or not port then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " [PORT]\n")
  os.exit(1)
end

local clients = {} -- name -> { conn, outbox }

local function log(...)
  print(string.format(...))
end

local function drop(name)
  local client = clients[name]
  if client then
    clients[name] = nil
    client.conn:reset()
    client.outbox:close()
  end
end

-- Sends a line to all but one; whose queue is full is dropped.
local function broadcast(line, except)
  local slow = {}
  for name, client in pairs(clients) do
    if name ~= except and not client.outbox:put_nowait(line) then
      slow[#slow + 1] = name
    end
  end
  for _, name in ipairs(slow) do
    if clients[name] then
      log("%s was too slow", name)
      drop(name)
      broadcast("* " .. name .. " was too slow")
    end
  end
end

local function ask_name(conn)
  conn:write "What is your name?\n"
  while true do
    local name = conn:read_line { max = LINE_MAX }
    if not name then
      return
    end
    name = name:match "^%s*(.-)%s*$"
    if #name == 0 or #name > NAME_MAX or name:find "%c" then
      conn:write("A name has 1 to " .. NAME_MAX .. " characters. What is yours?\n")
    elseif clients[name] then
      conn:write("Somebody is called " .. name .. " already. What is your name?\n")
    else
      return name
    end
  end
end

local function send_all(name, client)
  local sent = pcall(function()
    for line in client.outbox do
      client.conn:write(line .. "\n")
    end
  end)
  if not sent and clients[name] == client then
    drop(name) -- its handler sees the end of the connection
  end
end

local function here()
  local names = {}
  for name in pairs(clients) do
    names[#names + 1] = name
  end
  table.sort(names)
  return #names == 0 and "nobody" or table.concat(names, ", ")
end

local function chat(conn)
  conn:timeout(nil, STUCK_S)
  local name = ask_name(conn)
  if not name then
    return
  end
  conn:write("* Here: " .. here() .. "\n")
  local client = { conn = conn, outbox = async.queue(BEHIND_MAX) }
  clients[name] = client
  log("%s joined from %s", name, conn:peer())
  broadcast("* " .. name .. " joined", name)
  local sender = async.spawn(send_all, name, client)

  -- Who is cut off has left as well.
  local ok, err = pcall(function()
    for line in conn:lines { max = LINE_MAX } do
      broadcast(name .. ": " .. line:gsub("[%c]", ""), name)
    end
  end)

  if clients[name] == client then
    clients[name] = nil
    client.outbox:close()
    log("%s left", name)
    broadcast("* " .. name .. " left")
  end
  sender:cancel()
  if not ok and err.code == "ECANCELED" then
    error(err, 0)
  end
end

local server = net.listen("localhost", port, chat)
print("Chatting on port " .. server:address().port)
