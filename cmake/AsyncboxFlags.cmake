# How everything is compiled.
#   asyncbox_flags     for all of it, Lua too: sanitizers, the platform
#   asyncbox_warnings  for our own code only

add_library(asyncbox_flags INTERFACE)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  target_compile_definitions(asyncbox_flags INTERFACE _GNU_SOURCE=1)
elseif(APPLE)
  target_compile_definitions(asyncbox_flags INTERFACE _DARWIN_C_SOURCE=1)
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
target_link_libraries(asyncbox_flags INTERFACE
    Threads::Threads ${CMAKE_DL_LIBS})
if(NOT APPLE)
  target_link_options(asyncbox_flags INTERFACE LINKER:--as-needed)
endif()

if(ASYNCBOX_SANITIZE)
  # The pools would hide from a sanitizer what is freed and used again.
  target_compile_definitions(asyncbox_flags INTERFACE ASYNCBOX_PLAIN_MALLOC=1)
  target_compile_options(asyncbox_flags INTERFACE
      -O1 -g -fno-omit-frame-pointer -fsanitize=${ASYNCBOX_SANITIZE})
  target_link_options(asyncbox_flags INTERFACE
      -fsanitize=${ASYNCBOX_SANITIZE})
endif()

add_library(asyncbox_warnings INTERFACE)
target_compile_options(asyncbox_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes
    -Wmissing-prototypes -Wformat=2 -Wundef -Wvla)
if(ASYNCBOX_WERROR)
  target_compile_options(asyncbox_warnings INTERFACE -Werror)
endif()

# --- LTO: Lua, the core and the program become one unit ---------------------

set(ASYNCBOX_LTO_ACTIVE FALSE)
if(ASYNCBOX_LTO AND NOT ASYNCBOX_SANITIZE
   AND CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo|MinSizeRel)$")
  include(CheckIPOSupported)
  check_ipo_supported(RESULT lto_works OUTPUT lto_output LANGUAGES C)
  if(lto_works)
    set(ASYNCBOX_LTO_ACTIVE TRUE)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
      # Fat objects: the archive can be linked by any compiler, without LTO.
      set(CMAKE_C_COMPILE_OPTIONS_IPO -flto=auto -ffat-lto-objects)
    endif()
  else()
    message(STATUS "asyncbox: no link-time optimisation: ${lto_output}")
  endif()
endif()
