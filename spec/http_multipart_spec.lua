-- Multipart forms that asyncbox.http sends.
local fs = require "asyncbox.fs"
local http = require "asyncbox.http"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local raw = require "spec.support.raw_http"

local assert_code, assert_says, failure = errors.assert_code, errors.assert_says, errors.failure

-- The parts of a multipart body: {head = , text = }.
local function parts_of(request)
  local boundary = request.headers["content-type"]:match "^multipart/form%-data; boundary=(.+)$"
  local parts, at = {}, 1
  local body = "\r\n" .. request.body
  while true do
    local _, from = body:find("\r\n--" .. boundary, at, true)
    if body:sub(from + 1) == "--\r\n" then return parts end
    local to = body:find("\r\n--" .. boundary, from, true)
    local head, text = body:sub(from + 3, to - 1):match "^(.-)\r\n\r\n(.*)$"
    parts[#parts + 1] = { head = head, text = text }
    at = to
  end
end

describe("an upload", function()
  local server, url, dir

  local function fine() return raw.page("200 OK", "fine") end

  setup(function()
    raw.warm_up(function(first) http.post(first, { multipart = { a = 1 } }) end)
  end)

  before_each(function()
    dir = fs.tempdir()
    clean.start()
    server = raw.serve(fine)
    url = server.url
  end)

  after_each(function()
    http.close()
    server.listener:close()
    server = nil
    clean.check()
    fs.remove(dir.path, { recursive = true })
  end)

  local function last() return server.requests[#server.requests] end

  -- A server that reads heads only; the case does the rest with the connection.
  local function serve_heads(answer)
    server.listener:close()
    server = raw.serve(answer, { head = true })
    url = server.url
  end

  describe("of a multipart form", function()
    it("has its fields in the order of their names", function()
      http.post(url, { multipart = { b = "two", a = 1, c = { "x", true } } })
      local parts = parts_of(last())
      assert.same({
        { head = 'Content-Disposition: form-data; name="a"', text = "1" },
        { head = 'Content-Disposition: form-data; name="b"', text = "two" },
        { head = 'Content-Disposition: form-data; name="c"', text = "x" },
        { head = 'Content-Disposition: form-data; name="c"', text = "true" },
      }, parts)
      assert.equal(#last().body, tonumber(last().headers["content-length"]))
    end)

    it("or in the order of a list", function()
      http.post(url, { multipart = { { name = "z", value = "1" }, { name = "a", value = "2" } } })
      local parts = parts_of(last())
      assert.matches('name="z"', parts[1].head)
      assert.matches('name="a"', parts[2].head)
    end)

    it("streams files from the disk and says how long it is", function()
      local path = dir.path .. "/photo.png"
      fs.write(path, ("\0\255\r\n"):rep(100000))
      http.post(url, { multipart = {
        text = "hello",
        file = { file = path },
        other = { file = path, filename = "other.png", type = "image/png" },
      } })
      local request = last()
      assert.equal(#request.body, tonumber(request.headers["content-length"]))
      local parts = parts_of(request)
      assert.equal('Content-Disposition: form-data; name="file"; filename="photo.png"\r\n' ..
        "Content-Type: application/octet-stream", parts[1].head)
      assert.equal(("\0\255\r\n"):rep(100000), parts[1].text)
      assert.equal('Content-Disposition: form-data; name="other"; filename="other.png"\r\n' ..
        "Content-Type: image/png", parts[2].head)
      assert.equal("hello", parts[3].text)
    end)

    it("encodes what could break out of a name", function()
      http.post(url, { multipart = { ['a"\r\nX: y'] = { value = "v", filename = 'f"\r\n.txt' } } })
      assert.equal('Content-Disposition: form-data; name="a%22%0D%0AX: y"; ' ..
        'filename="f%22%0D%0A.txt"\r\nContent-Type: application/octet-stream',
        parts_of(last())[1].head)
    end)

    it("fails when a file is not there, before anything is sent", function()
      local err = assert_code("ENOENT", http.post, url,
        { multipart = { a = { file = dir.path .. "/none" } } })
      assert.equal(dir.path .. "/none", err.path)
      assert.equal(0, #server.requests)
    end)

    it("fails when a file becomes shorter while it is sent", function()
      local path = dir.path .. "/file"
      fs.write(path, ("x"):rep(30000000))
      serve_heads(function(_, conn)
        fs.write(path, "short")
        while conn:read(65536) do end -- luacheck: ignore
      end)
      local err = failure(http.post, url, { multipart = { a = { file = path } } })
      assert.equal("EINVAL", err.code)
      assert.matches("became shorter", tostring(err))
    end)

    it("refuses what is none", function()
      local function says(pattern, multipart)
        assert_says(pattern, http.post, url, { multipart = multipart })
      end
      says("option 'multipart' must be a table", "x")
      says("'a' needs a 'value' or a 'file'", { a = {} })
      says("'a' needs a 'value' or a 'file'", { a = { value = "x", file = "y" } })
      says("unknown option 'fil'", { a = { fil = "x" } })
      says("'a' must be a string, a number or a boolean, got function", { a = print })
      says("'file' of 'a' must be a path", { a = { file = "" } })
      says("'file' of 'a' must be a path", { a = { file = "a\0b" } })
      says("'filename' of 'a' must be a string", { a = { value = "x", filename = 1 } })
      says("a name must be a string, got nil", { { value = "x" } })
      says("item 1 must be a table", { "x" })
    end)

    it("needs the grant to read its files", function()
      local script = os.tmpname()
      fs.write(script, ([[
        local http = require "asyncbox.http"
        print(pcall(http.post, %q, { multipart = { a = { file = "/etc/hostname" } } }))
      ]]):format(url))
      local result = cli.run { "run", "--allow-net=127.0.0.1", script }
      os.remove(script)
      assert.matches("fs.%a+: permission not granted: /etc/hostname", result.stdout)
      assert.matches("%-%-allow%-read", result.stdout)
    end)
  end)
end)
