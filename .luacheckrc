std = "lua54"
cache = false
max_line_length = 100
exclude_files = { "bench/peers", "build*", ".deps" }
files["spec"] = { std = "+busted" }
