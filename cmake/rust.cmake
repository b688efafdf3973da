# The Rust crate rust/moxie_text (tokenizers, minijinja) as an imported static library.
# Cargo builds it from the pinned Cargo.lock, once for all presets: it does not depend on them.
find_program(CARGO_EXECUTABLE cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin NAMES cargo cargo-web)
if(NOT CARGO_EXECUTABLE)
  message(FATAL_ERROR
    "[rust] cargo was not found, and the tokenizers are built with it; install Rust 1.85 or newer: "
    "'apt-get install cargo-web rustc-web' on Debian 12, 'apt-get install cargo' elsewhere, or "
    "https://rustup.rs")
endif()

set(MOXIE_RUST_DIR ${CMAKE_SOURCE_DIR}/rust/moxie_text)
set(MOXIE_RUST_TARGET_DIR ${CMAKE_SOURCE_DIR}/build/rust CACHE PATH "where cargo builds")
set(MOXIE_RUST_LIBRARY ${MOXIE_RUST_TARGET_DIR}/release/libmoxie_text_rust.a)
file(GLOB MOXIE_RUST_SOURCES CONFIGURE_DEPENDS ${MOXIE_RUST_DIR}/src/*.rs)

add_custom_command(
  OUTPUT ${MOXIE_RUST_LIBRARY}
  COMMAND ${CMAKE_COMMAND} -E env CARGO_TERM_COLOR=never ${CARGO_EXECUTABLE} build --quiet --release
          --locked --manifest-path ${MOXIE_RUST_DIR}/Cargo.toml --target-dir ${MOXIE_RUST_TARGET_DIR}
  COMMAND ${CMAKE_COMMAND} -E touch ${MOXIE_RUST_LIBRARY}
  DEPENDS ${MOXIE_RUST_SOURCES} ${MOXIE_RUST_DIR}/Cargo.toml ${MOXIE_RUST_DIR}/Cargo.lock
  COMMENT "Building the Rust crate moxie_text"
  VERBATIM)
add_custom_target(moxie_text_rust_build DEPENDS ${MOXIE_RUST_LIBRARY})

add_library(moxie_text_rust STATIC IMPORTED GLOBAL)
set_target_properties(moxie_text_rust PROPERTIES
  IMPORTED_LOCATION ${MOXIE_RUST_LIBRARY}
  INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
add_dependencies(moxie_text_rust moxie_text_rust_build)
