#!/bin/sh
# fetch-lua.sh DIR: the newest released source of Lua 5.4, as DIR/lua-5.4.N,
# from Debian's (or Ubuntu's) archive by the machine's own mirror.
#
# The machine's release may be years old, so this reads the source index of
# the distribution's newest suite; with lists and a cache of its own, so that
# the system's are untouched and no root is needed. apt checks the signatures;
# what comes is upstream's tarball, without the distribution's patches.
set -eu

oldest=8 # 5.4.8: see cmake/AsyncboxLua.cmake
mkdir -p "$1"
target=$(cd "$1" && pwd)
work=$target/fetch
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/unpacked"
trap 'rm -rf "$work"' EXIT

distribution=debian
if [ -r /etc/os-release ] && grep -qiE '^ID(_LIKE)?=.*ubuntu' /etc/os-release
then
    distribution=ubuntu
fi
case $distribution in
ubuntu) suite=devel; components="main universe" ;;
*) suite=sid; components=main ;;
esac

# Each mirror of binary packages the system names, once: the classic one-line
# lists and the .sources stanzas. Security archives hold no whole suite.
mirrors() {
    etc=${APT_ETC:-/etc/apt}
    for file in "$etc/sources.list" "$etc"/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        sed -n 's/^[[:space:]]*deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]\{1,\}\)[[:space:]].*/\2/p' \
            "$file"
    done
    for file in "$etc"/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        # Folded lines go on with a blank; comments may stand in between.
        awk '
            function done(   n, i, part) {
                if (types ~ /(^| )deb( |$)/ && enabled !~ /^(no|false)/) {
                    n = split(uris, part, " ")
                    for (i = 1; i <= n; i++) print part[i]
                }
                types = uris = enabled = field = ""
            }
            /^#/ { next }
            /^[ \t]*$/ { done(); next }
            {
                text = $0
                if (text ~ /^[^ \t]/) {
                    field = tolower(text)
                    sub(/:.*/, "", field)
                    sub(/^[^:]*:/, "", text)
                }
                gsub(/[ \t]+/, " ", text)
                if (field == "types") types = types text
                else if (field == "uris") uris = uris text
                else if (field == "enabled") { sub(/^ /, "", text); enabled = tolower(text) }
            }
            END { done() }
        ' "$file"
    done
}

# The distribution's own mirrors first, any other repository not at all.
candidates=$(mirrors | grep -v -i security | grep -i "$distribution" |
    awk '!seen[$0]++' || :)
if [ -z "$candidates" ]; then
    echo "no $distribution mirror in /etc/apt/sources.list*" >&2
    exit 1
fi

keyring=/usr/share/keyrings/$distribution-archive-keyring.gpg
signed=
[ ! -r "$keyring" ] || signed="[signed-by=$keyring] "

apt() {
    apt-get -q \
        -o Dir::Etc::SourceList="$work/source.list" \
        -o Dir::Etc::SourceParts=/nonexistent \
        -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb-src::DEP-11::DefaultEnabled=false \
        -o Acquire::Retries=3 \
        "$@"
}

fetched=
for mirror in $candidates; do
    echo "deb-src $signed$mirror $suite $components" >"$work/source.list"
    # apt-get update succeeds with a warning when a mirror fails; source tells.
    if apt update &&
        (cd "$work" && apt source --download-only --tar-only lua5.4); then
        fetched=yes
        break
    fi
done
[ -n "$fetched" ] || exit 1

tarball=$(find "$work" -maxdepth 1 -name 'lua5.4_*.orig.tar.*' | head -n 1)
[ -n "$tarball" ] || { echo "no upstream tarball came" >&2; exit 1; }
tar -xf "$tarball" -C "$work/unpacked" --strip-components=1
release=$(sed -n 's/^#define[[:space:]]*LUA_VERSION_RELEASE[[:space:]]*"\([0-9]*\)".*/\1/p' \
    "$work/unpacked/src/lua.h")
if [ "${release:-0}" -lt "$oldest" ]; then
    echo "the archive has Lua 5.4.${release:-?}, older than 5.4.$oldest" >&2
    exit 1
fi
rm -rf "$target/lua-5.4.$release"
mv "$work/unpacked" "$target/lua-5.4.$release"
