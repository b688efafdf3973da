# cmake --install: bin/moxie, lib/libmoxie_*.a with the Rust library, include/moxie, the CMake package,
# man pages and shell completions. Another project writes
#   find_package(moxie REQUIRED)
#   target_link_libraries(its_target PRIVATE moxie::moxie)
# The exported layers are whatever src/ declared, so a new folder needs no line here.
include(CMakePackageConfigHelpers)

# lib, not lib64 or lib/<triple>: the exported targets name the Rust library by this path.
set(MOXIE_LIB_DIR lib)
set(MOXIE_PACKAGE_DIR ${MOXIE_LIB_DIR}/cmake/moxie)

set(layers "")
get_property(directories DIRECTORY src PROPERTY SUBDIRECTORIES)
foreach(directory ${directories})
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "STATIC_LIBRARY" AND target MATCHES "^moxie_" AND NOT target MATCHES "^moxie_app")
      list(APPEND layers ${target})
    endif()
  endforeach()
endforeach()

add_library(moxie_library INTERFACE)
target_link_libraries(moxie_library INTERFACE ${layers})
foreach(layer ${layers})
  string(REPLACE "moxie_" "" name ${layer})
  set_target_properties(${layer} PROPERTIES EXPORT_NAME ${name})
endforeach()
set_target_properties(moxie_library PROPERTIES EXPORT_NAME moxie)
install(TARGETS moxie_library ${layers} EXPORT moxieTargets ARCHIVE DESTINATION ${MOXIE_LIB_DIR})
install(EXPORT moxieTargets NAMESPACE moxie:: DESTINATION ${MOXIE_PACKAGE_DIR})

if(TARGET moxie_text_rust)
  get_target_property(rust_library moxie_text_rust IMPORTED_LOCATION)
  install(FILES ${rust_library} DESTINATION ${MOXIE_LIB_DIR})
endif()
install(DIRECTORY src/ DESTINATION include/moxie FILES_MATCHING PATTERN "*.h" PATTERN "*.list"
        PATTERN "app" EXCLUDE)
install(FILES LICENSE THIRD_PARTY.md DESTINATION share/doc/moxie)

configure_package_config_file(cmake/moxieConfig.cmake.in moxieConfig.cmake
  INSTALL_DESTINATION ${MOXIE_PACKAGE_DIR})
write_basic_package_version_file(moxieConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/moxieConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/moxieConfigVersion.cmake
        DESTINATION ${MOXIE_PACKAGE_DIR})

if(TARGET moxie)
  install(TARGETS moxie RUNTIME DESTINATION bin)
  # The binary writes its own man page and completions from the tables of its verbs.
  install(CODE "
    set(share \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share\")
    function(written_by_moxie path)
      get_filename_component(folder \"\${path}\" DIRECTORY)
      file(MAKE_DIRECTORY \"\${folder}\")
      execute_process(COMMAND \"$<TARGET_FILE:moxie>\" \${ARGN} OUTPUT_FILE \"\${path}\"
                      COMMAND_ERROR_IS_FATAL ANY)
      message(STATUS \"Installing: \${path}\")
    endfunction()
    written_by_moxie(\"\${share}/man/man1/moxie.1\" man)
    written_by_moxie(\"\${share}/bash-completion/completions/moxie\" completions bash)
    written_by_moxie(\"\${share}/zsh/site-functions/_moxie\" completions zsh)
    written_by_moxie(\"\${share}/fish/vendor_completions.d/moxie.fish\" completions fish)")
endif()

if(MOXIE_TESTS AND NOT MOXIE_SANITIZE)
  add_test(NAME install.e2e COMMAND ${CMAKE_COMMAND}
    -DMOXIE_BINARY_DIR=${CMAKE_BINARY_DIR} -DCONSUMER=${CMAKE_SOURCE_DIR}/tests/install
    -DGENERATOR=${CMAKE_GENERATOR} -DCOMPILER=${CMAKE_CXX_COMPILER}
    -P ${CMAKE_SOURCE_DIR}/tests/install/run.cmake)
  set_tests_properties(install.e2e PROPERTIES LABELS e2e TIMEOUT 600)
endif()
