# SPDX-License-Identifier: Apache-2.0
# page.cmake: puts the files that the service serves as they are into the program.
#
#   cmake -DWEB=folder of the built page -DOPENAPI=openapi.json -DOUT=folder -P page.cmake
#
# Writes OUT/page_data.S, which includes the bytes, plain and gzipped, and OUT/page_table.c, their table
# (server/page.h).  A folder that is not there has no files.
cmake_minimum_required(VERSION 3.25)
set(types
  html "text/html\; charset=utf-8" js "text/javascript\; charset=utf-8"
  css "text/css\; charset=utf-8" json "application/json" svg "image/svg+xml" png "image/png"
  ico "image/x-icon" wasm "application/wasm" txt "text/plain\; charset=utf-8" woff2 "font/woff2")
find_program(GZIP gzip REQUIRED)
file(MAKE_DIRECTORY ${OUT}/page)

set(data ".section .rodata\n")
set(names "")
set(rows "")
set(n 0)

function(include_bytes symbol path)
  string(APPEND data "/* ${etag} */\n.globl ${symbol}\n.balign 16\n${symbol}:\n.incbin \"${path}\"\n")
  string(APPEND names "extern const unsigned char ${symbol}[];\n")
  set(data "${data}" PARENT_SCOPE)
  set(names "${names}" PARENT_SCOPE)
endfunction()

macro(add_file name path)
  string(REGEX MATCH "[^.]*$" extension ${name})
  list(FIND types "${extension}" at)
  if(at EQUAL -1)
    set(type "application/octet-stream")
  else()
    math(EXPR at "${at} + 1")
    list(GET types ${at} type)
  endif()
  file(SHA256 ${path} sha256)
  string(SUBSTRING ${sha256} 0 32 etag)
  file(SIZE ${path} size)
  set(gz ${OUT}/page/${n}.gz)
  execute_process(COMMAND ${GZIP} -9nc ${path} OUTPUT_FILE ${gz} COMMAND_ERROR_IS_FATAL ANY)
  file(SIZE ${gz} gz_size)
  include_bytes(page_${n} ${path})
  if(gz_size LESS size)
    include_bytes(page_${n}_gz ${gz})
    set(packed "page_${n}_gz, ${gz_size}")
  else()
    set(packed "NULL, 0")
  endif()
  string(APPEND rows
    "    {\"${name}\", \"${type}\", \"${etag}\", page_${n}, ${size}, ${packed}},\n")
  math(EXPR n "${n} + 1")
endmacro()

add_file(openapi.json ${OPENAPI})
file(GLOB_RECURSE files RELATIVE ${WEB} ${WEB}/*)
foreach(file ${files})
  if(NOT file MATCHES "^[A-Za-z0-9._/-]+$")
    message(FATAL_ERROR "${WEB}/${file}: only letters, digits and . _ - can stand in a name")
  endif()
  add_file(${file} ${WEB}/${file})
endforeach()

file(CONFIGURE OUTPUT ${OUT}/page_data.S CONTENT
  "@data@.section .note.GNU-stack,\"\",%progbits\n" @ONLY)
file(CONFIGURE OUTPUT ${OUT}/page_table.c CONTENT
  "/* Made by cmake/page.cmake. */\n#include \"server/page.h\"\n\n@names@\nconst page_file page_files[] = {\n@rows@    {NULL, NULL, NULL, NULL, 0, NULL, 0},\n};\n"
  @ONLY)
# Also where the text is what it was: the build goes by times.
file(TOUCH ${OUT}/page_data.S ${OUT}/page_table.c)
