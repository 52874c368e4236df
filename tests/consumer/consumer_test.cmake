# Installs the build BUILD below WORK, then configures, builds and runs project/ against that.
# CONFIG, GENERATOR, COMPILER, LAUNCHER and FLAGS are those of the build.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result COMMAND_ECHO STDOUT)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed: ${result}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(COPY ${CMAKE_CURRENT_LIST_DIR}/project DESTINATION ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --config ${CONFIG} --prefix ${WORK}/prefix)

# Each public header must do alone, and include nothing that users of the library need not have.
set(include ${WORK}/prefix/include/tiffin)
file(GLOB headers RELATIVE ${include} ${include}/client/*.h ${include}/common/*.h)
if(NOT "client/client.h" IN_LIST headers)
  message(FATAL_ERROR "client/client.h is not installed")
endif()
foreach(header IN LISTS headers)
  file(STRINGS ${include}/${header} foreign
       REGEX "#include *[<\"](sqlite3|SQLiteCpp|H5|hdf5|openssl|xxhash|spdlog|CLI|server/)")
  if(foreign)
    message(FATAL_ERROR "${header}: ${foreign}")
  endif()
  string(MAKE_C_IDENTIFIER ${header} name)
  file(WRITE ${WORK}/project/alone/${name}.cc "#include \"${header}\"\n")
endforeach()

run(${CMAKE_COMMAND} -S ${WORK}/project -B ${WORK}/build -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_BUILD_TYPE=${CONFIG}
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}
    -DCMAKE_CXX_FLAGS=${FLAGS})
run(${CMAKE_COMMAND} --build ${WORK}/build --config ${CONFIG})
run(${WORK}/build/consumer ${WORK}/build/libmoons.so)
file(REMOVE_RECURSE ${WORK})
