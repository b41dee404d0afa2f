# cmake --install build: the program, both libraries, the header, a pkg-config
# file and a CMake package (find_package(asyncbox), asyncbox::shared or
# asyncbox::static).
include(CMakePackageConfigHelpers)

install(TARGETS asyncbox asyncbox_static asyncbox_shared EXPORT asyncbox
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/asyncbox.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(pc_requires_private libuv)
if(SYSTEM_LUA_REQUIRES)
  string(APPEND pc_requires_private ", ${SYSTEM_LUA_REQUIRES}")
endif()
set(pc_libs_private "-lm -lpthread")
foreach(library ${CMAKE_DL_LIBS})
  string(APPEND pc_libs_private " -l${library}")
endforeach()
# From where the file lies to the prefix: an installed tree may be moved.
file(RELATIVE_PATH pc_to_prefix
    "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
configure_file(cmake/asyncbox.pc.in asyncbox.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/asyncbox.pc"
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/asyncbox)
configure_package_config_file(cmake/asyncboxConfig.cmake.in
    asyncboxConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(asyncboxConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${CMAKE_CURRENT_BINARY_DIR}/asyncboxConfig.cmake"
    "${CMAKE_CURRENT_BINARY_DIR}/asyncboxConfigVersion.cmake"
    DESTINATION ${package_dir})
install(EXPORT asyncbox NAMESPACE asyncbox::
    FILE asyncboxTargets.cmake DESTINATION ${package_dir})
