# BoringSSL's libcrypto as a static archive of hidden symbols, beside the OpenSSL that gRPC and HDF5
# bring into the same process.
#
# Defines
#   tiffin_boringcrypto, tiffin::boringcrypto   the archive; never installed, linked to nothing else
#   tiffin_use_boringssl(TARGET SOURCE...)      adds SOURCE... to library TARGET; they, and nothing
#                                               else, may include and call BoringSSL
#   tiffin_add_boringssl_test(TEST TARGET)      a test that executable TARGET keeps the two apart
#
# TIFFIN_BORINGSSL_SOURCE (cache or environment) names the source tree; deploy/setup.sh fetches it.

include_guard(GLOBAL)
enable_language(C ASM)

if(DEFINED ENV{TIFFIN_BORINGSSL_SOURCE} AND NOT "$ENV{TIFFIN_BORINGSSL_SOURCE}" STREQUAL "")
  set(_default "$ENV{TIFFIN_BORINGSSL_SOURCE}")
else()
  set(_default "${PROJECT_SOURCE_DIR}/build/deps/boringssl")
endif()
set(TIFFIN_BORINGSSL_SOURCE "${_default}" CACHE PATH "BoringSSL's source (deploy/setup.sh)")
unset(_default)

# Debian's list of the sources; an Android tree without Debian's folder has its own.
set(_sources_mk "")
foreach(_candidate debian/sources.mk sources.mk)
  if(NOT _sources_mk AND EXISTS "${TIFFIN_BORINGSSL_SOURCE}/${_candidate}")
    set(_sources_mk "${TIFFIN_BORINGSSL_SOURCE}/${_candidate}")
  endif()
endforeach()
if(NOT _sources_mk)
  message(FATAL_ERROR
    "No BoringSSL source in '${TIFFIN_BORINGSSL_SOURCE}' (no debian/sources.mk). "
    "Run deploy/setup.sh, or set TIFFIN_BORINGSSL_SOURCE to a tree that has one.")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${_sources_mk}")

# Reads the make variable `name` of sources.mk as a list of absolute paths.
function(_tiffin_boringssl_sources out name)
  file(READ "${_sources_mk}" text)
  string(REGEX REPLACE "\\\\[ \t]*\n" " " text "${text}")
  if(NOT text MATCHES "(^|\n)${name} :?= *([^\n]*)")
    message(FATAL_ERROR "${_sources_mk} does not define ${name}")
  endif()
  string(REGEX MATCHALL "[^ \t]+" files "${CMAKE_MATCH_2}")
  list(TRANSFORM files PREPEND "${TIFFIN_BORINGSSL_SOURCE}/")
  set(${out} "${files}" PARENT_SCOPE)
endfunction()

_tiffin_boringssl_sources(_crypto_sources crypto_sources)
set(_assembly_sources "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  _tiffin_boringssl_sources(_assembly_sources linux_x86_64_sources)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  _tiffin_boringssl_sources(_assembly_sources linux_aarch64_sources)
endif()

add_library(tiffin_boringcrypto STATIC ${_crypto_sources} ${_assembly_sources})
add_library(tiffin::boringcrypto ALIAS tiffin_boringcrypto)
set_target_properties(tiffin_boringcrypto PROPERTIES
  C_STANDARD 11
  C_EXTENSIONS ON
  C_VISIBILITY_PRESET hidden
  POSITION_INDEPENDENT_CODE ON
  INTERPROCEDURAL_OPTIMIZATION OFF
  C_CLANG_TIDY ""
  EXPORT_COMPILE_COMMANDS OFF)
target_include_directories(tiffin_boringcrypto PRIVATE
  "${TIFFIN_BORINGSSL_SOURCE}/src/include" "${TIFFIN_BORINGSSL_SOURCE}/src/crypto")
target_compile_definitions(tiffin_boringcrypto PRIVATE
  BORINGSSL_IMPLEMENTATION
  $<$<NOT:$<BOOL:${_assembly_sources}>>:OPENSSL_NO_ASM>)
target_compile_options(tiffin_boringcrypto PRIVATE
  -w                                    # not our code
  -Wa,--noexecstack
  -fno-strict-aliasing
  -fno-sanitize=undefined               # nor ours to check
  $<$<AND:$<CONFIG:Debug>,$<COMPILE_LANGUAGE:C>>:-O2>)  # hashing stays quick under the sanitisers

# OpenSSL has functions of the same names, and gRPC puts its libcrypto.so on every command line that
# links tiffin. So SOURCE... and the parts of the archive they need become one object file in which
# BoringSSL's names are local: whatever a program links, and in whatever order, its own calls reach
# OpenSSL and those of SOURCE... reach BoringSSL.
function(tiffin_use_boringssl target)
  set(objects ${target}_boringssl_objects)
  set(private "${CMAKE_CURRENT_BINARY_DIR}/${target}_boringssl.o")
  set(names "${CMAKE_CURRENT_BINARY_DIR}/${target}_boringssl.names")
  add_library(${objects} OBJECT ${ARGN})
  set_target_properties(${objects} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    INTERPROCEDURAL_OPTIMIZATION OFF)
  target_include_directories(${objects} PRIVATE $<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>)
  target_include_directories(${objects} SYSTEM BEFORE PRIVATE
    "${TIFFIN_BORINGSSL_SOURCE}/src/include")
  target_compile_definitions(${objects} PRIVATE $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
  target_compile_options(${objects} PRIVATE $<TARGET_PROPERTY:${target},COMPILE_OPTIONS>)
  target_compile_features(${objects} PRIVATE $<TARGET_PROPERTY:${target},COMPILE_FEATURES>)
  add_custom_command(OUTPUT "${private}"
    COMMAND "${CMAKE_NM}" --extern-only --defined-only --format=just-symbols
            $<TARGET_FILE:tiffin_boringcrypto> > "${names}"
    COMMAND "${CMAKE_LINKER}" -r -o "${private}.tmp" $<TARGET_OBJECTS:${objects}>
            $<TARGET_FILE:tiffin_boringcrypto>
    COMMAND "${CMAKE_OBJCOPY}" "--localize-symbols=${names}" "${private}.tmp" "${private}"
    BYPRODUCTS "${names}" "${private}.tmp"
    DEPENDS ${objects} $<TARGET_OBJECTS:${objects}> tiffin_boringcrypto
    COMMENT "Hiding BoringSSL in ${target}_boringssl.o"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties("${private}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  target_sources(${target} PRIVATE "${private}")
endfunction()

# Passes if `target` has its own SHA256_Update, takes none from OpenSSL, and exports nothing of
# BoringSSL: neither what only BoringSSL has (CRYPTO_library_init) nor what both have.
function(tiffin_add_boringssl_test test target)
  set(script [[
set -eu
symbols=$(nm "$1")
dynamic=$(nm -D "$1")
fail() { echo "$1: $2"; exit 1; }
echo "$symbols" | grep -qE ' t SHA256_Update$' || fail "$1" "BoringSSL's SHA256_Update is not linked"
if echo "$dynamic" | grep -E ' U (SHA(1|224|256|384|512)_|RAND_|CRYPTO_)'; then
  fail "$1" "the above come from OpenSSL, not from BoringSSL"
fi
echo "$symbols" | sed -nE 's/^.* [tdbr] ((SHA|EVP|CRYPTO|RAND|BN|OPENSSL|ERR|RSA|EC|AES)_\w+)$/\1/p' |
  sort -u > "$2.own"
echo "$dynamic" | sed -nE 's/^[0-9a-f]+ [A-TV-Za-z] ([^@]*).*$/\1/p' | sort -u > "$2.exported"
test -s "$2.own" || fail "$1" "found no symbol of BoringSSL"
if comm -12 "$2.own" "$2.exported" | grep .; then fail "$1" "exports the above"; fi
if grep -x CRYPTO_library_init "$2.exported"; then fail "$1" "exports the above"; fi
]])
  add_test(NAME ${test} COMMAND bash -c "${script}" ${test} $<TARGET_FILE:${target}>
    "${CMAKE_CURRENT_BINARY_DIR}/${test}")
endfunction()
