# libuv (linked), libcurl (its headers only), lua-cjson (built in).
#   asyncbox_deps          what the core's objects are compiled and linked with
#   ASYNCBOX_LINK_PUBLIC   also for a user of the static library
#   ASYNCBOX_CJSON_SOURCES lua-cjson, to be part of the libraries

find_package(PkgConfig REQUIRED)
add_library(asyncbox_deps INTERFACE)

pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.38)
target_link_libraries(asyncbox_deps INTERFACE PkgConfig::LIBUV)
list(APPEND ASYNCBOX_LINK_PUBLIC PkgConfig::LIBUV Threads::Threads)

# libcurl is never linked: loading it costs 4-6 ms at every start. The first
# fetch opens it by this name, its SONAME, with dlopen.
pkg_check_modules(LIBCURL REQUIRED libcurl>=7.64)
target_include_directories(asyncbox_deps SYSTEM INTERFACE
    ${LIBCURL_INCLUDE_DIRS})
if(NOT ASYNCBOX_CURL_SONAME)
  set(soname "")
  if(APPLE)
    set(soname libcurl.4.dylib)
  else()
    find_library(ASYNCBOX_CURL_FILE curl HINTS ${LIBCURL_LIBRARY_DIRS})
    mark_as_advanced(ASYNCBOX_CURL_FILE)
    if(ASYNCBOX_CURL_FILE MATCHES "\\.so" AND CMAKE_OBJDUMP)
      execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${ASYNCBOX_CURL_FILE}
          OUTPUT_VARIABLE headers ERROR_QUIET)
      if(headers MATCHES "SONAME[ \t]+([^ \t\r\n]+)")
        set(soname ${CMAKE_MATCH_1})
      endif()
    endif()
    if(NOT soname)
      set(soname libcurl.so.4)
    endif()
  endif()
  set(ASYNCBOX_CURL_SONAME ${soname} CACHE STRING
      "The libcurl that the first fetch opens with dlopen")
endif()
target_compile_definitions(asyncbox_deps INTERFACE
    ASYNCBOX_CURL_SONAME="${ASYNCBOX_CURL_SONAME}")

# The archive itself, by its path: its pkg-config file would bring the
# system's liblua5.4 along.
if(NOT DEFINED ASYNCBOX_CJSON)
  pkg_check_modules(LUA_CJSON lua5.4-cjson)
  find_library(ASYNCBOX_CJSON NAMES liblua5.4-cjson.a
      HINTS ${LUA_CJSON_LIBRARY_DIRS}
      DOC "lua-cjson's static library, built for Lua 5.4 (OFF: no json)")
endif()
if(ASYNCBOX_CJSON MATCHES "NOTFOUND$")
  unset(ASYNCBOX_CJSON CACHE)
  message(FATAL_ERROR
      "asyncbox: lua-cjson's static library for Lua 5.4 was not found "
      "(Debian: lua-cjson-dev). Name it with -DASYNCBOX_CJSON=/path/to/"
      "liblua5.4-cjson.a, or build without json: -DASYNCBOX_CJSON=OFF")
endif()

set(ASYNCBOX_CJSON_SOURCES "")
if(ASYNCBOX_CJSON)
  target_compile_definitions(asyncbox_deps INTERFACE ASYNCBOX_HAVE_CJSON=1)
  list(APPEND ASYNCBOX_LINK_PUBLIC m)
endif()
if(ASYNCBOX_CJSON AND CMAKE_OBJCOPY AND NOT APPLE)
  # One object in which only luaopen_cjson* is global: nothing of it meets a
  # cjson.so that a script loads. Debian compiles the archive for programs, not
  # for shared libraries; the one thing that does not fit there is its use of
  # libc's stderr (in its last words before abort), so that goes through a
  # variable of ours.
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/generated")
  add_custom_command(OUTPUT "${folder}/cjson.o"
      COMMAND ${CMAKE_LINKER} -r -o cjson-all.o
              --whole-archive "${ASYNCBOX_CJSON}"
      COMMAND ${CMAKE_OBJCOPY} --redefine-sym stderr=ab_cjson_stderr
              --keep-global-symbol=luaopen_cjson
              --keep-global-symbol=luaopen_cjson_safe cjson-all.o cjson.o
      DEPENDS "${ASYNCBOX_CJSON}" WORKING_DIRECTORY "${folder}"
      COMMENT "Taking lua-cjson from its archive" VERBATIM)
  file(CONFIGURE OUTPUT "${folder}/cjson_stderr.c" CONTENT
"#include <stdio.h>
extern FILE *ab_cjson_stderr;
FILE *ab_cjson_stderr;
__attribute__((constructor)) static void set_stderr(void)
{
    ab_cjson_stderr = stderr;
}
")
  set(ASYNCBOX_CJSON_SOURCES "${folder}/cjson.o" "${folder}/cjson_stderr.c")
elseif(ASYNCBOX_CJSON)
  list(APPEND ASYNCBOX_LINK_PUBLIC "${ASYNCBOX_CJSON}")
endif()
