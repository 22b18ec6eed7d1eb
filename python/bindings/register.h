#pragma once

#include <pybind11/pybind11.h>

namespace taesr {

// One function an area, each in a file of its own. Errors come first: later areas throw them.
void register_errors(pybind11::module_& module);
void register_config(pybind11::module_& module);
void register_encoder(pybind11::module_& module);
void register_chunker(pybind11::module_& module);
void register_collection(pybind11::module_& module);
void register_compression(pybind11::module_& module);
void register_decoder(pybind11::module_& module);
void register_generation_queue(pybind11::module_& module);
void register_maintenance(pybind11::module_& module);
void register_device(pybind11::module_& module);
void register_heads(pybind11::module_& module);
void register_indexes(pybind11::module_& module);
void register_nn(pybind11::module_& module);
void register_retrieval(pybind11::module_& module);

}  // namespace taesr
