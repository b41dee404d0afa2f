-- Fetch every URL of a file (one a line) at once; print each with its page's title.

local async = require "asyncbox"
local http, fs = async.http, async.fs
local await, create_task, gather = async.await, async.create_task, async.gather

local function usage()
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " FILENAME\n")
  os.exit(1)
end

local fetch = async(function(session, url)
  local response = session:get(url)
  return { url, response:text() }
end, "fetch")

local entities = { amp = "&", lt = "<", gt = ">", quot = '"', ["#39"] = "'" }

-- The text of the first <title>, or nil. A pattern is enough for this; it is no
-- HTML parser.
local function title_of(html)
  html = html:gsub("<!%-%-.-%-%->", "") -- what is commented out is not there
  local title = html:match("<[Tt][Ii][Tt][Ll][Ee]%f[%s>][^>]*>(.-)</[Tt][Ii][Tt][Ll][Ee]")
  return title and (title:gsub("&(#?%w+);", entities))
end

local main = async(function()
  if #arg < 1 then
    usage()
  end

  local urls = {}
  for line in fs.read(arg[1]):gmatch("[^\r\n]+") do
    urls[#urls + 1] = line
  end

  local session <close> = http.session()
  local tasks = {}
  for _, url in ipairs(urls) do
    tasks[#tasks + 1] = create_task(fetch(session, url))
  end
  await(gather(tasks))

  for _, task in ipairs(tasks) do
    local url, content = table.unpack(task:result())
    print(url)
    print(title_of(content) or "Missing")
  end
end, "main")

async.run(main())
