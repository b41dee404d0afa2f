-- Certificates of every kind, made by the openssl program once for the process,
-- in a folder of their own that teardown removes.
--
--   local certificates = require "spec.support.certificates"
--   local certs = {}
--   setup(function() certs = certificates.make() end)
--   teardown(certificates.remove)
--   certs.server.cert, certs.server.key      -- PEM text
--   certs.server.cert_path, certs.server.key_path

local cli = require "spec.support.cli"

local certificates = {}

local dir, made

-- name, subject, who signs (nil: itself), days, names, key
local LIST = {
  { "ca", "/CN=Spec Root", nil, 2 },
  { "other", "/CN=Other Root", nil, 2 },
  { "server", "/CN=localhost", "ca", 2, "DNS:localhost,IP:127.0.0.1,IP:::1" },
  { "client", "/CN=alice/O=Spec", "ca", 2, "DNS:alice" },
  { "stranger", "/CN=mallory", "other", 2, "DNS:mallory" },
  { "wrong", "/CN=example.org", "ca", 2, "DNS:example.org" },
  { "expired", "/CN=localhost", "ca", -1, "DNS:localhost,IP:127.0.0.1" },
  { "alone", "/CN=localhost", nil, 2, "DNS:localhost,IP:127.0.0.1" },
}

local function commands()
  local out = { "set -e", "cd " .. cli.quote(dir) }
  for _, row in ipairs(LIST) do
    local name, subject, signer, days, names = table.unpack(row, 1, 5)
    local extension = names and " -addext subjectAltName=" .. names or ""
    out[#out + 1] = ("openssl ecparam -name prime256v1 -genkey -noout -out %s.key"):format(name)
    if signer then
      out[#out + 1] = ("openssl req -new -key %s.key -subj %s%s -out %s.csr"):format(
        name, cli.quote(subject), extension, name)
      out[#out + 1] = ("openssl x509 -req -in %s.csr -CA %s.cert -CAkey %s.key -CAcreateserial " ..
        "-copy_extensions copyall -days %d -out %s.cert"):format(name, signer, signer, days, name)
    else
      out[#out + 1] = ("openssl req -x509 -new -key %s.key -subj %s%s -days %d -out %s.cert")
        :format(name, cli.quote(subject), extension, days, name)
    end
  end
  out[#out + 1] = "openssl pkcs8 -topk8 -in server.key -passout pass:sesame -out locked.key"
  return table.concat(out, "\n")
end

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

function certificates.make()
  if made then return made end
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir " .. cli.quote(dir)))
  local pipe <close> = assert(io.popen("exec 2>&1; " .. commands() .. "\necho done"))
  local said = pipe:read "a"
  assert(said:find "done\n$", said)
  made = { dir = dir, locked_key = slurp(dir .. "/locked.key") }
  for _, row in ipairs(LIST) do
    local path = dir .. "/" .. row[1]
    made[row[1]] = {
      cert = slurp(path .. ".cert"),
      key = slurp(path .. ".key"),
      cert_path = path .. ".cert",
      key_path = path .. ".key",
    }
  end
  return made
end

function certificates.remove()
  if dir then os.execute("rm -rf " .. cli.quote(dir)) end
  dir, made = nil, nil
end

return certificates
