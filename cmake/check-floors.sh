#!/bin/sh
# The floors: includes point down, never up or sideways.
#   4 host/cli       only <asyncbox.h>, the CLI's own headers, the system
#   3 host/api.c     anything below
#   2 bindings       binding.h (which may include host/), the system's and libraries' headers, and a
#                    module's own header (fs.h in fs.c and fs_*.c)
#   1 host           its own headers; never a binding
#   0 include        system headers only
# Prints each breach as FILE:LINE: WHAT; exits 1 when there is one.
# check-floors.sh [TREE]
set -eu
cd "${1:-$(dirname "$0")/..}"

breaches=$(
    files=$(find include host bindings -name '*.[ch]' 2>/dev/null |
        LC_ALL=C sort)
    [ -n "$files" ] || exit 0
    # shellcheck disable=SC2086
    awk '
    function breach(what) { print FILENAME ":" FNR ": " what }
    function stem(path) { sub(/.*\//, "", path); sub(/\.[^.]*$/, "", path); return path }
    function exists(path,   line, got) {
        got = (getline line < path) >= 0
        close(path)
        return got
    }
    FNR == 1 {
        me = stem(FILENAME)
        if (FILENAME ~ /^include\//) floor = 0
        else if (FILENAME ~ /^host\/cli\//) floor = 4
        else if (FILENAME ~ /^host\/api[._]/) floor = 3
        else if (FILENAME ~ /^host\//) floor = 1
        else if (FILENAME ~ /^bindings\/binding\.[ch]$/) floor = 2.5
        else floor = 2
    }
    /ab_open_[a-z]/ && floor == 1 && !/^[ \t]*(\/?\*|\/\/)/ {
        breach("the host core names a binding")
    }
    !/^[ \t]*#[ \t]*include[ \t]*[<"]/ { next }
    {
        text = $0
        sub(/^[ \t]*#[ \t]*include[ \t]*/, "", text)
        quoted = substr(text, 1, 1) == "\""
        sub(/^./, "", text)
        sub(/[>"].*/, "", text)
        own = text == "asyncbox.h" || text == "asyncbox/asyncbox.h"
        # <sched.h> is the one of the system: ours are found by quotes only.
        base = text
        sub(/.*\//, "", base)
        ours = quoted || own
        if (text ~ /\.\.\//) {
            breach("an include that climbs: " text)
        } else if (floor == 0) {
            if (ours) breach("the public header includes " text)
        } else if (floor == 4) {
            if (text ~ /^(lua|lauxlib|lualib|uv|curl\/.*)(\.h|pp)?$/)
                breach("the CLI includes a library behind asyncbox.h: " text)
            else if (ours && !own && !exists("host/cli/" text))
                breach("the CLI includes " text ", which is not asyncbox.h")
        } else if (floor == 1) {
            if (text ~ /^cli\// || (ours && !own && !exists("host/" text)))
                breach("the host core includes " text ", which is not its own")
        } else if (floor == 2) {
            module = stem(text)
            mine = exists("bindings/" text) && \
                (me == module || index(me, module "_") == 1)
            if (ours && base != "binding.h" && !mine)
                breach("a binding includes " text \
                    ": only binding.h and its own header are its floor")
        } else if (floor == 2.5) {
            if (ours && !own && base != "binding.h" && !exists("host/" text))
                breach("binding.h includes " text ", which is not in host/")
        } else if (floor == 3) {
            if (text ~ /^cli\// || (quoted && exists("host/cli/" text)))
                breach("the API includes the CLI: " text)
        }
    }
    ' $files

    # Base names are unique: a name finds one unit. A unit may have a .c, a .h
    # and a .lua, side by side.
    find host bindings -name '*.c' -o -name '*.h' -o -name '*.lua' 2>/dev/null |
        sed 's/\.[a-z]*$//' | LC_ALL=C sort -u |
        awk '{ name = $0; sub(/.*\//, "", name)
            if (name in where) print $0 ": base name also taken by " where[name]
            else where[name] = $0 }'
)

# A sign to split by idea, not a breach.
find host bindings include spec scripts -name '*.[ch]' -o \
    -name '*.lua' | LC_ALL=C sort | while read -r file; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 500 ] || echo "$file: warning: $lines lines, over 500" >&2
done

[ -n "$breaches" ] || exit 0
printf '%s\n' "$breaches" >&2
exit 1
