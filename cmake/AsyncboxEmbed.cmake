# Lua sources compiled into the library.
#
# asyncbox_embed_lua(OUT FILE...): for each bindings/NAME.lua a C file with
#     const char ab_lua_NAME[];          the text, with a final NUL
#     const size_t ab_lua_NAME_len;      its length without that NUL
# where '.' and '-' in NAME are '_'. This file is also the script that writes
# one of them: cmake -DINPUT= -DOUTPUT= -DSYMBOL= -P AsyncboxEmbed.cmake

if(CMAKE_SCRIPT_MODE_FILE)
  file(READ "${INPUT}" bytes HEX)
  # 16 bytes a line, as character constants: an array of numbers above 127
  # would not convert to char without a warning.
  string(REGEX REPLACE "................................" "\\0\n" bytes
      "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  get_filename_component(input_name "${INPUT}" NAME)
  file(WRITE "${OUTPUT}"
"/* Made from ${input_name} by cmake/AsyncboxEmbed.cmake. */
#include <stddef.h>
extern const char ${SYMBOL}[];
extern const size_t ${SYMBOL}_len;
const char ${SYMBOL}[] = {
${bytes}
'\\0'};
const size_t ${SYMBOL}_len = sizeof ${SYMBOL} - 1;
")
  return()
endif()

set(ASYNCBOX_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

function(asyncbox_embed_lua out)
  set(made "")
  foreach(input ${ARGN})
    get_filename_component(name "${input}" NAME)
    string(REGEX REPLACE "\\.lua$" "" name "${name}")
    string(REGEX REPLACE "[.-]" "_" name "${name}")
    set(output "${CMAKE_CURRENT_BINARY_DIR}/generated/ab_lua_${name}.c")
    add_custom_command(OUTPUT "${output}"
        COMMAND ${CMAKE_COMMAND} -DINPUT=${input} -DOUTPUT=${output}
                -DSYMBOL=ab_lua_${name} -P "${ASYNCBOX_EMBED_SCRIPT}"
        DEPENDS "${input}" "${ASYNCBOX_EMBED_SCRIPT}"
        COMMENT "Embedding bindings/${name}.lua" VERBATIM)
    list(APPEND made "${output}")
  endforeach()
  set(${out} ${made} PARENT_SCOPE)
endfunction()
