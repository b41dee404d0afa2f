# libuv (linked); libcurl, libcares, OpenSSL, gumbo and libidn2 (their headers
# only).
#   asyncbox_deps          what the core's objects are compiled and linked with
#   ASYNCBOX_LINK_PUBLIC   also for a user of the static library

find_package(PkgConfig REQUIRED)
add_library(asyncbox_deps INTERFACE)

pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.38)
target_link_libraries(asyncbox_deps INTERFACE PkgConfig::LIBUV)
list(APPEND ASYNCBOX_LINK_PUBLIC PkgConfig::LIBUV Threads::Threads)

# The names of libraries that are opened with dlopen when a script first needs
# them are their SONAMEs, read from the library that the compiler would link.
#   asyncbox_soname(CURL curl "${LIBCURL_LIBRARY_DIRS}" libcurl.so.4 libcurl.4.dylib)
# defines the cache variable and the macro ASYNCBOX_CURL_SONAME; the last two
# are what it is when the library cannot be read: on Linux, on macOS.
function(asyncbox_soname what library hints otherwise otherwise_apple)
  if(NOT ASYNCBOX_${what}_SONAME)
    set(soname "")
    if(APPLE)
      set(soname ${otherwise_apple})
    else()
      find_library(ASYNCBOX_${what}_FILE ${library} HINTS ${hints})
      mark_as_advanced(ASYNCBOX_${what}_FILE)
      if(ASYNCBOX_${what}_FILE MATCHES "\\.so" AND CMAKE_OBJDUMP)
        execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${ASYNCBOX_${what}_FILE}
            OUTPUT_VARIABLE headers ERROR_QUIET)
        if(headers MATCHES "SONAME[ \t]+([^ \t\r\n]+)")
          set(soname ${CMAKE_MATCH_1})
        endif()
      endif()
      if(NOT soname)
        set(soname ${otherwise})
      endif()
    endif()
    set(ASYNCBOX_${what}_SONAME ${soname} CACHE STRING
        "The lib${library} that is opened on first use, with dlopen")
  endif()
  target_compile_definitions(asyncbox_deps INTERFACE
      ASYNCBOX_${what}_SONAME="${ASYNCBOX_${what}_SONAME}")
endfunction()

# libcurl is never linked: loading it costs 4-6 ms at every start.
pkg_check_modules(LIBCURL REQUIRED libcurl>=7.64)
target_include_directories(asyncbox_deps SYSTEM INTERFACE
    ${LIBCURL_INCLUDE_DIRS})
asyncbox_soname(CURL curl "${LIBCURL_LIBRARY_DIRS}"
    libcurl.so.4 libcurl.4.dylib)

# Neither is libcares, which looks up names.
pkg_check_modules(LIBCARES REQUIRED libcares>=1.16)
target_include_directories(asyncbox_deps SYSTEM INTERFACE
    ${LIBCARES_INCLUDE_DIRS})
asyncbox_soname(CARES cares "${LIBCARES_LIBRARY_DIRS}"
    libcares.so.2 libcares.2.dylib)

# OpenSSL neither: the first TLS stream opens it.
pkg_check_modules(OPENSSL REQUIRED openssl>=3.0)
target_include_directories(asyncbox_deps SYSTEM INTERFACE
    ${OPENSSL_INCLUDE_DIRS})
asyncbox_soname(OPENSSL ssl "${OPENSSL_LIBRARY_DIRS}"
    libssl.so.3 libssl.3.dylib)

# Nor gumbo, until the first html.parse. Its structs differ between versions:
# what is opened must be the one whose header this is.
pkg_check_modules(GUMBO REQUIRED gumbo>=0.10)
target_include_directories(asyncbox_deps SYSTEM INTERFACE ${GUMBO_INCLUDE_DIRS})
asyncbox_soname(GUMBO gumbo "${GUMBO_LIBRARY_DIRS}"
    libgumbo.so.1 libgumbo.1.dylib)

# Nor libidn2, until the first name that is not ASCII.
pkg_check_modules(LIBIDN2 REQUIRED libidn2>=2.0)
target_include_directories(asyncbox_deps SYSTEM INTERFACE
    ${LIBIDN2_INCLUDE_DIRS})
asyncbox_soname(IDN2 idn2 "${LIBIDN2_LIBRARY_DIRS}"
    libidn2.so.0 libidn2.0.dylib)

list(APPEND ASYNCBOX_LINK_PUBLIC m)
