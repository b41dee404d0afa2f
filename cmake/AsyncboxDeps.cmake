# libuv (linked), libcurl and OpenSSL (their headers only).
#   asyncbox_deps          what the core's objects are compiled and linked with
#   ASYNCBOX_LINK_PUBLIC   also for a user of the static library

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

# OpenSSL neither: the first TLS stream opens it.
pkg_check_modules(OPENSSL REQUIRED openssl>=3.0)
target_include_directories(asyncbox_deps SYSTEM INTERFACE
    ${OPENSSL_INCLUDE_DIRS})
if(NOT ASYNCBOX_OPENSSL_SONAME)
  if(APPLE)
    set(soname libssl.3.dylib)
  else()
    set(soname libssl.so.3)
  endif()
  set(ASYNCBOX_OPENSSL_SONAME ${soname} CACHE STRING
      "The OpenSSL that the first TLS stream opens with dlopen")
endif()
target_compile_definitions(asyncbox_deps INTERFACE
    ASYNCBOX_OPENSSL_SONAME="${ASYNCBOX_OPENSSL_SONAME}")

list(APPEND ASYNCBOX_LINK_PUBLIC m)
