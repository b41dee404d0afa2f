# Lua, static and unpatched, of a release that is safe against plain source
# (5.4.8 or later; why: docs, "Which Lua"). Nothing of it is committed. Gives
#   asyncbox_lua           the headers (and the library, with ASYNCBOX_LUA=system)
#   ASYNCBOX_LUA_OBJECTS   its objects, empty with ASYNCBOX_LUA=system

set(ASYNCBOX_LUA_OLDEST 5.4.8)
# The release fetched when no source is at hand. The hash is that of the
# tarball which Debian ships as lua5.4_5.4.9.orig.tar.gz (its signed archive
# vouches for that file). The machine where this was written cannot reach
# lua.org; that upstream's file is the same one is what many public projects
# which pin it say, and a different file would fail here, not build.
set(ASYNCBOX_LUA_URL "https://www.lua.org/ftp/lua-5.4.9.tar.gz")
set(ASYNCBOX_LUA_SHA256
    2335b6c582a52654f94612bf10d2f4672805d05329aa6568b1d8cd9e5c6fb8e6)

function(asyncbox_lua_version header out)
  file(STRINGS "${header}" lines REGEX "#define[ \t]+LUA_VERSION_")
  set(version "")
  foreach(part MAJOR MINOR RELEASE)
    if(NOT lines MATCHES "LUA_VERSION_${part}[ \t]+\"([0-9]+)\"")
      message(FATAL_ERROR "asyncbox: no Lua 5.4 header: ${header}")
    endif()
    list(APPEND version ${CMAKE_MATCH_1})
  endforeach()
  list(JOIN version "." version)
  set(${out} ${version} PARENT_SCOPE)
endfunction()

# Where lua.h lies below a folder that may be a release or its src/.
function(asyncbox_lua_src folder out)
  set(${out} "" PARENT_SCOPE)
  foreach(candidate "${folder}" "${folder}/src")
    if(EXISTS "${candidate}/lua.h" AND EXISTS "${candidate}/lvm.c")
      set(${out} "${candidate}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

function(asyncbox_find_lua_source out)
  if(ASYNCBOX_LUA_SOURCE)
    get_filename_component(given "${ASYNCBOX_LUA_SOURCE}" ABSOLUTE
        BASE_DIR "${CMAKE_SOURCE_DIR}")
    if(EXISTS "${given}" AND NOT IS_DIRECTORY "${given}")
      set(unpacked "${CMAKE_CURRENT_BINARY_DIR}/lua-source")
      file(REMOVE_RECURSE "${unpacked}")
      file(ARCHIVE_EXTRACT INPUT "${given}" DESTINATION "${unpacked}")
      file(GLOB given LIST_DIRECTORIES true "${unpacked}/*")
    endif()
    asyncbox_lua_src("${given}" src)
    if(NOT src)
      message(FATAL_ERROR
          "asyncbox: ASYNCBOX_LUA_SOURCE=${ASYNCBOX_LUA_SOURCE} is neither "
          "Lua's source folder nor its tarball")
    endif()
  else()
    file(GLOB fetched LIST_DIRECTORIES true
        "${CMAKE_CURRENT_SOURCE_DIR}/.deps/lua-5.4.*")
    list(SORT fetched COMPARE NATURAL ORDER DESCENDING)
    foreach(folder ${fetched})
      asyncbox_lua_src("${folder}" src)
      if(src)
        break()
      endif()
    endforeach()
    if(NOT src)
      message(STATUS "asyncbox: fetching ${ASYNCBOX_LUA_URL} "
          "(name a copy with -DASYNCBOX_LUA_SOURCE=FILE where that fails)")
      if(POLICY CMP0135)
        cmake_policy(SET CMP0135 NEW)
      endif()
      include(FetchContent)
      FetchContent_Declare(asyncbox_lua_release
          URL "${ASYNCBOX_LUA_URL}"
          URL_HASH SHA256=${ASYNCBOX_LUA_SHA256}
          TIMEOUT 120 INACTIVITY_TIMEOUT 20)
      FetchContent_MakeAvailable(asyncbox_lua_release)
      asyncbox_lua_src("${asyncbox_lua_release_SOURCE_DIR}" src)
    endif()
  endif()
  set(${out} "${src}" PARENT_SCOPE)
endfunction()

# package.path and package.cpath as the distribution's own lua5.4 has them.
function(asyncbox_lua_paths target)
  if(APPLE)
    return() # Lua's own defaults, /usr/local, are what people use there
  endif()
  set(path "")
  foreach(folder /usr/local/share /usr/local/lib /usr/share)
    list(APPEND path "${folder}/lua/5.4/?.lua" "${folder}/lua/5.4/?/init.lua")
  endforeach()
  list(APPEND path "./?.lua" "./?/init.lua")
  set(cpath "/usr/local/lib/lua/5.4/?.so")
  if(CMAKE_LIBRARY_ARCHITECTURE)
    list(APPEND cpath "/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/lua/5.4/?.so")
  elseif(EXISTS /usr/lib64)
    list(APPEND cpath "/usr/lib64/lua/5.4/?.so")
  endif()
  list(APPEND cpath "/usr/lib/lua/5.4/?.so"
      "/usr/local/lib/lua/5.4/loadall.so" "./?.so")
  # A CMake list is written with ; between its entries, just as Lua's is; in a
  # header, because no shell or build file has to quote it there.
  set(header "${CMAKE_CURRENT_BINARY_DIR}/generated/asyncbox_lua_paths.h")
  file(CONFIGURE OUTPUT "${header}" CONTENT
"#define LUA_PATH_DEFAULT \"@path@\"
#define LUA_CPATH_DEFAULT \"@cpath@\"
" @ONLY)
  target_compile_options(${target} PRIVATE -include "${header}")
endfunction()

add_library(asyncbox_lua INTERFACE)
set(ASYNCBOX_LUA_OBJECTS "")
set(ASYNCBOX_LINK_PUBLIC "") # what a user of the static library links too

if(ASYNCBOX_LUA STREQUAL "system")
  find_package(PkgConfig REQUIRED)
  pkg_search_module(SYSTEM_LUA REQUIRED IMPORTED_TARGET
      lua5.4 lua-5.4 lua54 lua>=5.4)
  target_link_libraries(asyncbox_lua INTERFACE PkgConfig::SYSTEM_LUA)
  find_path(SYSTEM_LUA_HEADER lua.h HINTS ${SYSTEM_LUA_INCLUDE_DIRS}
      NO_DEFAULT_PATH)
  find_path(SYSTEM_LUA_HEADER lua.h)
  asyncbox_lua_version("${SYSTEM_LUA_HEADER}/lua.h" ASYNCBOX_LUA_VERSION)
  if(ASYNCBOX_LUA_VERSION VERSION_LESS ASYNCBOX_LUA_OLDEST)
    message(WARNING
        "asyncbox: the system's Lua is ${ASYNCBOX_LUA_VERSION}, older than "
        "${ASYNCBOX_LUA_OLDEST}. Such a Lua has known memory errors that "
        "plain Lua source can reach: the sandbox's memory safety is NOT "
        "promised in this build. Run only scripts that you trust.")
  endif()
  set(SYSTEM_LUA_REQUIRES ${SYSTEM_LUA_MODULE_NAME})
  list(APPEND ASYNCBOX_LINK_PUBLIC PkgConfig::SYSTEM_LUA)
elseif(ASYNCBOX_LUA STREQUAL "bundled")
  asyncbox_find_lua_source(lua_src)
  asyncbox_lua_version("${lua_src}/lua.h" ASYNCBOX_LUA_VERSION)
  if(ASYNCBOX_LUA_VERSION VERSION_LESS ASYNCBOX_LUA_OLDEST
     OR NOT ASYNCBOX_LUA_VERSION VERSION_LESS 5.5)
    message(FATAL_ERROR
        "asyncbox: needs Lua 5.4, ${ASYNCBOX_LUA_OLDEST} or later, but "
        "${lua_src} is ${ASYNCBOX_LUA_VERSION}")
  endif()
  file(GLOB lua_sources "${lua_src}/*.c")
  list(FILTER lua_sources EXCLUDE REGEX "/(lua|luac|onelua|ltests)\\.c$")
  add_library(asyncbox_lua_objects OBJECT ${lua_sources})
  # As upstream's Makefile compiles it; its symbols are visible, so that the
  # program can export them. Its warnings are upstream's business.
  set_target_properties(asyncbox_lua_objects PROPERTIES
      C_STANDARD 99 C_EXTENSIONS ON C_VISIBILITY_PRESET default)
  target_compile_options(asyncbox_lua_objects PRIVATE -w)
  target_link_libraries(asyncbox_lua_objects PRIVATE asyncbox_flags)
  set(lua_platform
      $<$<PLATFORM_ID:Linux>:LUA_USE_LINUX>
      $<$<PLATFORM_ID:Darwin>:LUA_USE_MACOSX>
      $<$<NOT:$<PLATFORM_ID:Linux,Darwin>>:LUA_USE_POSIX>)
  target_compile_definitions(asyncbox_lua_objects PRIVATE
      LUA_COMPAT_5_3 ${lua_platform})
  asyncbox_lua_paths(asyncbox_lua_objects)
  target_include_directories(asyncbox_lua SYSTEM BEFORE INTERFACE "${lua_src}")
  target_compile_definitions(asyncbox_lua INTERFACE LUA_COMPAT_5_3)
  target_link_libraries(asyncbox_lua INTERFACE m)
  set(ASYNCBOX_LUA_OBJECTS $<TARGET_OBJECTS:asyncbox_lua_objects>)
else()
  message(FATAL_ERROR "asyncbox: ASYNCBOX_LUA is bundled or system, "
      "not '${ASYNCBOX_LUA}'")
endif()
message(STATUS "asyncbox: Lua ${ASYNCBOX_LUA_VERSION} (${ASYNCBOX_LUA})")
