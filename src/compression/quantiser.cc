#include "compression/quantiser.h"

#include <cmath>

#include "compression/float_quantiser.h"
#include "compression/product_quantiser.h"
#include "compression/scalar_quantiser.h"
#include "compression/top_quantiser.h"

namespace taesr {

std::unique_ptr<Quantiser> fit_quantiser(const CodecName& name, const Matrix& sample,
                                         const FitOptions& options) {
  switch (name.quantiser) {
    case QuantiserKind::kFloat32:
      return std::make_unique<Float32Quantiser>(name.projected);
    case QuantiserKind::kFloat16:
      return std::make_unique<Float16Quantiser>(name.projected);
    case QuantiserKind::kProduct:
      return std::make_unique<ProductQuantiser>(ProductQuantiser::fit(sample, name.count, options));
    case QuantiserKind::kTop:
      return std::make_unique<TopQuantiser>(name.projected, name.count);
    default:
      return std::make_unique<ScalarQuantiser>(ScalarQuantiser::fit(name.quantiser, sample));
  }
}

std::unique_ptr<Quantiser> read_quantiser(const CodecName& name, ByteReader& reader) {
  switch (name.quantiser) {
    case QuantiserKind::kFloat32:
      return std::make_unique<Float32Quantiser>(name.projected);
    case QuantiserKind::kFloat16:
      return std::make_unique<Float16Quantiser>(name.projected);
    case QuantiserKind::kProduct:
      return std::make_unique<ProductQuantiser>(ProductQuantiser::read(name.projected, name.count, reader));
    case QuantiserKind::kTop:
      return std::make_unique<TopQuantiser>(name.projected, name.count);
    default:
      return std::make_unique<ScalarQuantiser>(ScalarQuantiser::read(name.quantiser, name.projected, reader));
  }
}

std::vector<float> read_finite(ByteReader& reader, std::size_t count) {
  std::vector<float> values = reader.get_all<float>(count);
  for (const float value : values) {
    if (!std::isfinite(value)) reader.fail("has a parameter that is not finite");
  }
  return values;
}

}  // namespace taesr
