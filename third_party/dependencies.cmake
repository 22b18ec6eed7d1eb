# How each dependency is found: the system's package first; see README.md beside this file for
# versions and licences. Nothing is vendored.

find_package(Threads REQUIRED)
find_package(SQLite3 3.34 REQUIRED)
if(NOT TARGET SQLite3::SQLite3)  # the name since CMake 4.3
  add_library(SQLite3::SQLite3 ALIAS SQLite::SQLite3)
endif()
find_package(nlohmann_json 3.10 REQUIRED)
include(fetch_sdist)
include(sentencepiece)
include(hnswlib)
include(libtorch)
