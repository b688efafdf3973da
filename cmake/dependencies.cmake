# Every library Moxie links, found once. tools/setup.sh installs them.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(CURL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(dnnl REQUIRED)
if(MOXIE_TESTS)
  find_package(GTest REQUIRED)
endif()

add_library(moxie_flags INTERFACE)
target_compile_options(moxie_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Werror
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # false alarms in GCC 12 (its bug 105651)
)
if(MOXIE_SANITIZE)
  target_compile_options(moxie_flags INTERFACE -fsanitize=${MOXIE_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(moxie_flags INTERFACE -fsanitize=${MOXIE_SANITIZE})
endif()
if(MOXIE_SCALAR)
  target_compile_definitions(moxie_flags INTERFACE MOXIE_SCALAR_ONLY=1)
endif()
