#include <pybind11/pybind11.h>

#include "register.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

/// The Python class of a C++ error, looked up once in taesr.errors, where they are defined.
PyObject* python_class(const char* name) {
  py::object found = py::module_::import("taesr.errors").attr(name);
  return found.release().ptr();  // lives as long as the interpreter
}

struct ErrorClasses {
  PyObject* error = python_class("Error");
  PyObject* invalid_argument = python_class("InvalidArgument");
  PyObject* io_error = python_class("IoError");
  PyObject* format_error = python_class("FormatError");
  PyObject* version_error = python_class("VersionError");
  PyObject* checksum_error = python_class("ChecksumError");
  PyObject* model_mismatch = python_class("ModelMismatch");
  PyObject* overloaded = python_class("Overloaded");
};

const ErrorClasses& classes() {
  static const ErrorClasses* const instance = new ErrorClasses();  // never destroyed: outlives the interpreter
  return *instance;
}

/// Most derived classes first, as `catch` takes the first that fits.
void translate(std::exception_ptr exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const VersionError& error) {
    PyErr_SetString(classes().version_error, error.what());
  } catch (const ChecksumError& error) {
    PyErr_SetString(classes().checksum_error, error.what());
  } catch (const FormatError& error) {
    PyErr_SetString(classes().format_error, error.what());
  } catch (const InvalidArgument& error) {
    PyErr_SetString(classes().invalid_argument, error.what());
  } catch (const IoError& error) {
    PyErr_SetString(classes().io_error, error.what());
  } catch (const ModelMismatch& error) {
    PyErr_SetString(classes().model_mismatch, error.what());
  } catch (const Overloaded& error) {
    PyErr_SetString(classes().overloaded, error.what());
  } catch (const Error& error) {
    PyErr_SetString(classes().error, error.what());
  }
}

}  // namespace

void register_errors(py::module_&) {
  classes();
  py::register_exception_translator(&translate);
}

}  // namespace taesr
