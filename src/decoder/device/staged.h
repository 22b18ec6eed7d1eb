#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace taesr {

/// Numbers that go between the host and a device, in memory of their own on both sides. Copies are part of
/// the current stream: the host's side may be used again when the stream has been waited for.
class Staged {
 public:
  Staged(at::ScalarType dtype, at::Device device) : dtype_(dtype), device_(device) {}

  /// Makes room for so many; true if the memory is another one now, with nothing in it.
  bool reserve(std::int64_t count);
  /// Sends the first `count` numbers of the host's side.
  void send(std::int64_t count);
  /// Fetches the first `count` numbers of the device's side.
  void fetch(std::int64_t count);

  template <class T>
  [[nodiscard]] T* host() {
    return static_cast<T*>(host_.data_ptr());
  }
  [[nodiscard]] const at::Tensor& on_device() const { return on_device_; }

 private:
  at::ScalarType dtype_;
  at::Device device_;
  at::Tensor host_;
  at::Tensor on_device_;
};

}  // namespace taesr
