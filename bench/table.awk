# Medians of one workload's raw runs as a Markdown table, best first, and asyncbox's ratios under it.
#   metric   which derived figure: startup ns late rate seconds mem files mbs procs echo idle
#   floor    the row that is the floor
#   goal     asyncbox's goal, as a ratio to the row `against`, or in the figure's own unit if that is empty
# A row named "floor: ..." or "limit: ..." is no peer; one with "(no loop)" never reaches its event loop.
BEGIN {
  FS = "\t"
  head["startup"] = "ms"; head["ns"] = "ns each"; head["late"] = "CPU us each | late by, s"
  head["rate"] = "CPU us each | per s"; head["seconds"] = "s"; head["mem"] = "bytes per task"
  head["files"] = "ms | CPU us per file"; head["mbs"] = "s per GB | MB/s | CPU s per GB"
  head["procs"] = "us each | per s | CPU us each"; head["idle"] = "bytes each | counted by the box"
  head["echo"] = "us each | per s | CPU us each | p50 us | p99 us"
}
function med(s,   a, n, i, j, v) {
  n = split(s, a, " ")
  for (i = 2; i <= n; i++) {
    v = a[i] + 0
    for (j = i - 1; j > 0 && a[j] + 0 > v; j--) a[j + 1] = a[j]
    a[j + 1] = v
  }
  return n % 2 ? a[(n + 1) / 2] + 0 : (a[n / 2] + a[n / 2 + 1]) / 2
}
function kv(s, k) {
  if (!match(s, " " k "=[0-9.e+-]+")) return 0
  return substr(s, RSTART + length(k) + 2, RLENGTH - length(k) - 2) + 0
}
function num(x) { return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : x >= 1 ? "%.2f" : "%.3f", x) }
{
  if (!($1 in runs)) order[++np] = $1
  runs[$1]++
  n[$1] = kv($7, "n")
  wall[$1] = wall[$1] " " $3; cpu[$1] = cpu[$1] " " ($4 + $5); rss[$1] = rss[$1] " " $6
  p50[$1] = p50[$1] " " kv($7, "p50us"); p99[$1] = p99[$1] " " kv($7, "p99us"); box[$1] = box[$1] " " kv($7, "box")
  t[$1] = t[$1] " " kv($7, "t"); cpu_each[$1] = cpu_each[$1] " " ($4 + $5) / n[$1]
}
function figures(p,   name) { # sets fig[p], what is compared, and text[p]
  if (metric == "startup") { fig[p] = med(wall[p]) * 1e3; text[p] = num(fig[p]) }
  else if (metric == "ns") { fig[p] = med(t[p]) / n[p] * 1e9; text[p] = num(fig[p]) }
  else if (metric == "late") { fig[p] = med(cpu_each[p]) * 1e6; text[p] = num(fig[p]) " | " sprintf("%.3f", med(t[p]) - 1) }
  else if (metric == "rate") { fig[p] = med(cpu_each[p]) * 1e6; text[p] = num(fig[p]) " | " sprintf("%.0f", n[p] / med(t[p])) }
  else if (metric == "seconds") { fig[p] = med(t[p]); text[p] = sprintf("%.3f", fig[p]) }
  else if (metric == "files") { fig[p] = med(t[p]) * 1e3; text[p] = num(fig[p]) " | " num(med(cpu_each[p]) * 1e6) }
  else if (metric == "mbs") { fig[p] = med(t[p]) / n[p] * 1e9; text[p] = num(fig[p]) " | " sprintf("%.0f", 1e3 / fig[p]) " | " num(med(cpu_each[p]) * 1e9) }
  else if (metric == "procs") { fig[p] = med(t[p]) / n[p] * 1e6; text[p] = num(fig[p]) " | " sprintf("%.0f", 1e6 / fig[p]) " | " num(med(cpu_each[p]) * 1e6) }
  else if (metric == "echo") { fig[p] = med(t[p]) / n[p] * 1e6; text[p] = num(fig[p]) " | " sprintf("%.0f", 1e6 / fig[p]) " | " num(med(cpu_each[p]) * 1e6) " | " med(p50[p]) " | " med(p99[p]) }
  else if (metric == "idle") { fig[p] = med(t[p]); text[p] = num(fig[p]) " | " med(box[p]) }
  else if (metric == "mem") { name = p; sub(/@.*/, "", name); fig[p] = (med(rss[p]) - med(rss[name "@1"])) * 1024 / (n[p] - 1); text[p] = num(fig[p]) }
}
function by_figure(rows, k,   i, j, v) {
  for (i = 2; i <= k; i++) {
    v = rows[i]
    for (j = i - 1; j > 0 && fig[rows[j]] > fig[v]; j--) rows[j + 1] = rows[j]
    rows[j + 1] = v
  }
}
function rules(heads,   s) { # one for each column after the first
  while (sub(/\|/, "", heads)) s = s "---|"
  return s
}
function ratio(a, b) { return sprintf("%.2f", fig[a] / fig[b]) }
function table(suffix,   i, k, p, rows, name) { # of the rows whose names end so; suffix is left out
  k = 0
  for (i = 1; i <= np; i++) {
    p = order[i]
    if (suffix != "" && substr(p, length(p) - length(suffix) + 1) != suffix) continue
    figures(p)
    rows[++k] = p
  }
  if (!k) return
  by_figure(rows, k)
  printf "| %s | runs | wall s | CPU s | RSS MB | %s |\n|---|---|---|---|---|---|%s\n", suffix == "" ? "peer" : "peer, " substr(suffix, 2) " tasks", head[metric], rules(head[metric])
  for (i = 1; i <= k; i++) {
    p = rows[i]
    name = substr(p, 1, length(p) - length(suffix))
    printf "| %s | %d | %.3f | %.3f | %.1f | %s |\n", name == "asyncbox" ? "**asyncbox**" : name, runs[p], med(wall[p]), med(cpu[p]), med(rss[p]) / 1024, text[p]
  }
  print ""
  ratios(rows, k, suffix)
}
function ratios(rows, k, suffix,   us, i, p, best, lua, promise, f, g) {
  us = "asyncbox" suffix
  if (!(us in fig)) { print "- asyncbox: not in this run"; return }
  for (i = k; i >= 1; i--) {
    p = rows[i]
    if (p ~ /^asyncbox/ || p ~ /^(floor|limit):/) continue
    if (p ~ /\(no loop\)/) promise = p
    else { best = p; if (p ~ /lua5\.4/) lua = p }
  }
  f = floor suffix
  if (f in fig) printf "- asyncbox ÷ C floor: **%s** (%s)\n", ratio(us, f), floor
  else printf "- asyncbox ÷ C floor: no run of %s\n", floor
  printf "- asyncbox ÷ best peer: %s", best ? "**" ratio(us, best) "** (" best ")" : "no peer here"
  if (lua && lua != best) printf "; ÷ best on Lua 5.4: %s (%s)", ratio(us, lua), lua
  if (promise) printf "; ÷ %s: %s", promise, ratio(us, promise)
  print ""
  if (against == "") printf "- goal: ≤ %s %s; here %s: **%s**\n", goal, head[metric], num(fig[us]), fig[us] <= goal ? "reached" : "not reached"
  else {
    g = against suffix
    if (!(g in fig)) printf "- goal: ≤ %.3f × %s: no run of it\n", goal, against
    else printf "- goal: ≤ %.3f × %s (here %s × %.3f = %s); asyncbox %s, ratio %.3f: **%s**\n", goal, against, num(fig[g]), goal, num(fig[g] * goal), num(fig[us]), fig[us] / fig[g], fig[us] <= fig[g] * goal ? "reached" : "not reached"
  }
}
END {
  if (metric != "mem") table("")
  else { table("@100000"); print ""; table("@1000000") }
}
