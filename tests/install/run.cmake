# Installs the build tree under itself, builds the consumer against what was installed, runs it, and
# runs the installed binary.
set(work ${MOXIE_BINARY_DIR}/install-test)
set(prefix ${work}/prefix)
file(REMOVE_RECURSE ${work})

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install ${MOXIE_BINARY_DIR} --prefix ${prefix})
run(${CMAKE_COMMAND} -S ${CONSUMER} -B ${work}/consumer -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${work}/consumer)
run(${work}/consumer/consumer)
run(${prefix}/bin/moxie version)

# A path of the build tree in the package would work here and nowhere else.
get_filename_component(source ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)
file(GLOB package ${prefix}/lib/cmake/moxie/*.cmake)
foreach(file ${package})
  file(READ ${file} text)
  string(FIND "${text}" "${source}" at)
  if(NOT at EQUAL -1)
    message(FATAL_ERROR "${file} names the source tree")
  endif()
endforeach()
foreach(expected share/man/man1/moxie.1 share/bash-completion/completions/moxie
        share/zsh/site-functions/_moxie share/fish/vendor_completions.d/moxie.fish)
  file(SIZE ${prefix}/${expected} size)
  if(size LESS 200)
    message(FATAL_ERROR "${expected} has ${size} bytes")
  endif()
endforeach()
