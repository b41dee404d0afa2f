-- A real web server on loopback for specs: nginx, from a temporary folder, on a
-- free port, as root or as an ordinary user.
--
--   local server = nginx.start()            -- url, root, dir, port
--   server:write("index.html", "<title>Hi</title>")
--   http.get(server.url .. "index.html")    -- url ends with a slash
--   server:stop()
--
-- start { locations = "location /x { ... }" } adds to the server block,
-- start { http = "limit_req_zone ..." } to the block around it. In both $DIR is the
-- folder, $PORT the port; $TLS, $PLAIN and $EXPIRED are the next ones, for servers of
-- one's own.

local nginx = {}
nginx.__index = nginx

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- What a command prints, and whether it succeeded.
local function shell(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  return text, pipe:close()
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local config = [[
daemon on;
worker_processes 1;
pid $DIR/nginx.pid;
error_log $DIR/error.log;
events { worker_connections 1024; }
http {
  types { text/html html; text/plain txt; application/json json; }
  default_type application/octet-stream;
  access_log $DIR/access.log;
  client_body_temp_path $DIR/body;
  proxy_temp_path $DIR/proxy;
  fastcgi_temp_path $DIR/fastcgi;
  uwsgi_temp_path $DIR/uwsgi;
  scgi_temp_path $DIR/scgi;
  $HTTP
  server {
    listen 127.0.0.1:$PORT;
    server_name localhost;
    root $DIR/root;
    $LOCATIONS
  }
}
]]

local function program()
  local path = shell "PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx"
  path = path:gsub("%s+$", "")
  assert(path ~= "", "nginx is not installed: apt-get install nginx-light")
  return path
end

-- Starts a server; raises what nginx said if it can't.
function nginx.start(opts)
  opts = opts or {}
  local dir = shell "mktemp -d /tmp/asyncbox-nginx.XXXXXX":gsub("%s+$", "")
  -- Started by root, nginx serves as another user, who has to get in.
  assert(os.execute("mkdir " .. dir .. "/root && chmod 755 " .. dir .. " " .. dir .. "/root"))
  local self = setmetatable({ dir = dir, root = dir .. "/root" }, nginx)

  local said
  for _ = 1, 20 do
    local port = math.random(20000, 32000) -- below what the kernel gives to clients
    local values = { DIR = dir, PORT = tostring(port), TLS = tostring(port + 1) }
    values.PLAIN, values.EXPIRED = tostring(port + 2), tostring(port + 3)
    values.HTTP = (opts.http or ""):gsub("%$(%u+)", values)
    values.LOCATIONS = (opts.locations or ""):gsub("%$(%u+)", values)
    write_file(dir .. "/nginx.conf", (config:gsub("%$(%u+)", values)))
    local ok
    said, ok = shell(string.format(
      "%s -p %s -c %s/nginx.conf -e %s/error.log </dev/null 2>&1",
      quote(program()), dir, dir, dir
    ))
    if ok then
      self.port = port
      self.url = "http://127.0.0.1:" .. port .. "/"
      return self
    elseif not said:find("Address already in use", 1, true) then
      break
    end
  end
  os.execute("rm -rf " .. dir)
  error("nginx does not start: " .. said, 2)
end

-- Puts a file into the served folder (sub-folders are made), returns its URL.
function nginx:write(name, text)
  local path = self.root .. "/" .. name
  local folder = quote(path:match "^(.*)/")
  assert(os.execute("umask 022 && mkdir -p " .. folder))
  write_file(path, text)
  assert(os.execute("chmod 644 " .. quote(path)))
  return self.url .. name
end

-- Stops the server, waits until it is gone and removes its folder. A second
-- call does nothing.
function nginx:stop()
  if not self.url then
    return
  end
  self.url = nil
  -- The pid file goes when the master process has ended.
  os.execute(string.format(
    "pid=$(cat %s/nginx.pid) && kill $pid && n=0 && "
      .. "while [ -e %s/nginx.pid ] && [ $n -lt 3000 ]; do n=$((n+1)); sleep 0.01; done; "
      .. "rm -rf %s",
    self.dir, self.dir, self.dir
  ))
end

nginx.__close = nginx.stop

return nginx
