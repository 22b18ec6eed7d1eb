#include <pybind11/pybind11.h>

#include "core/cpu.h"
#include "register.h"
#include "taesr/version.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled part of taesr. Use the classes of the package `taesr`, which document it.";
  module.attr("__version__") = TAESR_VERSION;
  module.attr("__torch_version__") = TAESR_TORCH_VERSION;
  module.attr("__compiler__") = TAESR_COMPILER;
  module.def("cpu_multiplies_bfloat16", &taesr::cpu_multiplies_bfloat16);
  taesr::register_errors(module);
  taesr::register_config(module);
  taesr::register_encoder(module);
  taesr::register_chunker(module);
  taesr::register_maintenance(module);
  taesr::register_collection(module);
  taesr::register_retrieval(module);
  taesr::register_compression(module);
  taesr::register_decoder(module);
  taesr::register_generation_queue(module);
  taesr::register_device(module);
  taesr::register_heads(module);
  taesr::register_indexes(module);
  taesr::register_nn(module);
}
