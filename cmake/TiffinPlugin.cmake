# tiffin_plugin(NAME FILE…): a shared object for `tiffin-server --registry base+numpy+pickle+/path/libNAME.so`.
# It links common, hides what it brings, and exports the two functions of common/plugin.h.
function(tiffin_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_link_libraries(${name} PRIVATE tiffin::common)
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden)
  target_link_options(${name} PRIVATE -Wl,--exclude-libs,ALL)
endfunction()
