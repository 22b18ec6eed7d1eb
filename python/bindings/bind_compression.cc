#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "numpy_matrix.h"
#include "register.h"
#include "taesr/compression.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<std::uint8_t, py::array::c_style>;

Matrix to_matrix(const Floats& rows, const char* what) {
  if (rows.ndim() != 2) throw InvalidArgument(std::string(what) + " must be float32 [n, dimension]");
  Matrix matrix(static_cast<std::size_t>(rows.shape(0)), static_cast<std::size_t>(rows.shape(1)));
  std::copy_n(rows.data(), matrix.values.size(), matrix.values.data());
  return matrix;
}

std::span<const std::uint8_t> codes_of(const VectorCodec& codec, const Bytes& codes) {
  if (codes.ndim() != 2 || static_cast<std::size_t>(codes.shape(1)) != codec.code_size()) {
    throw InvalidArgument("codes must be uint8 [n, " + std::to_string(codec.code_size()) + "] for codec " +
                          codec.name());
  }
  return {codes.data(), static_cast<std::size_t>(codes.size())};
}

VectorCodec fit(const std::string& name, const Floats& sample, std::uint64_t seed, std::size_t iterations,
                std::size_t max_rows) {
  const Matrix rows = to_matrix(sample, "the sample");
  const py::gil_scoped_release release;
  return VectorCodec::fit(name, rows, {.seed = seed, .iterations = iterations, .max_rows = max_rows});
}

Bytes encode(const VectorCodec& self, const Floats& vectors) {
  const Matrix rows = to_matrix(vectors, "vectors");
  std::vector<std::uint8_t> codes;
  {
    const py::gil_scoped_release release;
    codes = self.encode(rows);
  }
  Bytes result({rows.rows, self.code_size()});
  std::copy(codes.begin(), codes.end(), result.mutable_data());
  return result;
}

Floats decode(const VectorCodec& self, const Bytes& codes) {
  const auto bytes = codes_of(self, codes);
  Matrix rows;
  {
    const py::gil_scoped_release release;
    rows = self.decode(bytes);
  }
  return to_numpy(std::move(rows));
}

Floats score(const VectorCodec& self, const Floats& queries, const Bytes& codes) {
  const Matrix rows = to_matrix(queries, "queries");
  const auto bytes = codes_of(self, codes);
  Matrix scores(rows.rows, bytes.size() / self.code_size());
  {
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < rows.rows; ++i) {
      const std::vector<float> row = self.score(rows.row(i), bytes);
      std::copy(row.begin(), row.end(), scores.row(i).begin());
    }
  }
  return to_numpy(std::move(scores));
}

std::pair<py::array_t<std::int64_t>, py::array_t<float>> search(const VectorCodec& self, const Floats& queries,
                                                                const Bytes& codes, std::size_t k,
                                                                std::size_t rescore) {
  const Matrix rows = to_matrix(queries, "queries");
  const auto bytes = codes_of(self, codes);
  const std::size_t found = std::min(k, bytes.size() / self.code_size());
  py::array_t<std::int64_t> positions({rows.rows, found});
  py::array_t<float> scores({rows.rows, found});
  std::int64_t* position = positions.mutable_data();
  float* score = scores.mutable_data();
  {
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < rows.rows; ++i) {
      for (const auto& [row, value] : self.search(rows.row(i), bytes, k, rescore)) {
        *position++ = row;
        *score++ = value;
      }
    }
  }
  return {std::move(positions), std::move(scores)};
}

}  // namespace

void register_compression(py::module_& module) {
  py::class_<VectorCodec>(module, "VectorCodec")
      .def_static("fit", &fit, py::arg("name"), py::arg("sample"), py::arg("seed"), py::arg("iterations"),
                  py::arg("max_rows"))
      .def_static(
          "load",
          [](const py::bytes& bytes, const std::string& source) {
            return VectorCodec::load(std::string_view(bytes), source);
          },
          py::arg("bytes"), py::arg("source"))
      .def("save", [](const VectorCodec& self) { return py::bytes(self.save()); })
      .def_property_readonly("name", &VectorCodec::name)
      .def_property_readonly("dimension", &VectorCodec::dimension)
      .def_property_readonly("code_size", &VectorCodec::code_size)
      .def("encode", &encode, py::arg("vectors"))
      .def("decode", &decode, py::arg("codes"))
      .def("score", &score, py::arg("queries"), py::arg("codes"))
      .def("search", &search, py::arg("queries"), py::arg("codes"), py::arg("k"), py::arg("rescore"));
}

}  // namespace taesr
