#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "register.h"
#include "taesr/generation_queue.h"

namespace py = pybind11;

namespace taesr {
namespace {

/// The next piece, "" where none comes in time, None at the end.
std::optional<std::string> next_piece(QueuedText& text, double seconds) {
  const py::gil_scoped_release release;
  std::string piece;
  if (!text.wait_for(std::chrono::duration<double>(seconds))) return piece;
  if (!text.next(piece)) return std::nullopt;
  return piece;
}

}  // namespace

void register_generation_queue(py::module_& module) {
  using Release = py::call_guard<py::gil_scoped_release>;

  py::class_<GenerationQueueStatus>(module, "GenerationQueueStatus")
      .def_readonly("waiting", &GenerationQueueStatus::waiting)
      .def_readonly("active", &GenerationQueueStatus::active)
      .def_readonly("kv_bytes", &GenerationQueueStatus::kv_bytes)
      .def_readonly("steps", &GenerationQueueStatus::steps)
      .def_readonly("rows", &GenerationQueueStatus::rows);

  py::class_<QueuedText>(module, "QueuedText")
      .def("next", &next_piece, py::arg("seconds"))
      .def(
          "wait_for_end",
          [](const QueuedText& self, double seconds) {
            const py::gil_scoped_release release;
            return self.wait_for_end(std::chrono::duration<double>(seconds));
          },
          py::arg("seconds"))
      .def("cancel", &QueuedText::cancel, Release())
      .def("result", &QueuedText::result, Release());

  py::class_<GenerationQueue>(module, "GenerationQueue")
      .def(py::init([](const Decoder& decoder, std::size_t max_active, std::size_t max_waiting,
                       std::size_t batch_tokens, bool refill) {
             return GenerationQueue(decoder, {.max_active = max_active,
                                              .max_waiting = max_waiting,
                                              .batch_tokens = batch_tokens,
                                              .refill = refill});
           }),
           py::arg("decoder"), py::kw_only(), py::arg("max_active"), py::arg("max_waiting"),
           py::arg("batch_tokens"), py::arg("refill"))
      .def(
          "submit",
          [](GenerationQueue& self, const std::vector<int>& prompt, const GenerateOptions& options) {
            const py::gil_scoped_release release;
            return self.submit(prompt, options);
          },
          py::arg("prompt"), py::arg("options"))
      .def("close", &GenerationQueue::close, Release())
      .def("status", &GenerationQueue::status, Release());
}

}  // namespace taesr
