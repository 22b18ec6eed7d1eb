# Installs the library, its headers, models and CMake package. In a wheel the same tree lies inside
# the Python package; `python -m taesr --cmake-dir` prints where.

include(CMakePackageConfigHelpers)

install(TARGETS taesr EXPORT taesrTargets
  LIBRARY DESTINATION "${TAESR_LIBRARY_DIR}"
  RUNTIME DESTINATION "${TAESR_LIBRARY_DIR}")
install(DIRECTORY include/taesr DESTINATION "${TAESR_INCLUDE_DIR}" FILES_MATCHING PATTERN "*.h")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/include/taesr/version.h" DESTINATION "${TAESR_INCLUDE_DIR}/taesr")
install(EXPORT taesrTargets NAMESPACE taesr:: DESTINATION "${TAESR_CMAKE_DIR}")
configure_package_config_file(
  third_party/taesrConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/taesrConfig.cmake"
  INSTALL_DESTINATION "${TAESR_CMAKE_DIR}")
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/taesrConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/taesrConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/taesrConfigVersion.cmake"
  DESTINATION "${TAESR_CMAKE_DIR}")
if(NOT SKBUILD)  # the Python package carries its models as package data
  install(DIRECTORY python/taesr/models/ DESTINATION "${TAESR_MODELS_DIR}")
endif()
