# hnswlib 0.8.0, headers only: a folder given by HNSWLIB_SOURCE_DIR, a system copy of that version,
# or the source package from the Python package index. (Debian 12 has 0.6.2, which lacks filters and
# replaceable deletions.)

set(HNSWLIB_VERSION 0.8.0)
if(NOT HNSWLIB_SOURCE_DIR)
  find_package(hnswlib ${HNSWLIB_VERSION} QUIET)
  if(hnswlib_FOUND)
    get_target_property(HNSWLIB_SOURCE_DIR hnswlib::hnswlib INTERFACE_INCLUDE_DIRECTORIES)
  else()
    taesr_fetch_sdist(hnswlib ${HNSWLIB_VERSION}
      cb6d037eedebb34a7134e7dc78966441dfd04c9cf5ee93911be911ced951c44c HNSWLIB_SOURCE_DIR)
  endif()
endif()
add_library(taesr_hnswlib INTERFACE)
add_library(taesr::hnswlib ALIAS taesr_hnswlib)
target_include_directories(taesr_hnswlib SYSTEM INTERFACE "${HNSWLIB_SOURCE_DIR}")
