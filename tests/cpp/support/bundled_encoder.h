#pragma once

#include "taesr/encoder.h"

namespace taesr::testing {

/// The bundled model in float32, loaded once.
inline const Encoder& encoder() {
  static const Encoder instance = Encoder::load(TAESR_TEST_MODEL, Precision::kFloat32);
  return instance;
}

}  // namespace taesr::testing
