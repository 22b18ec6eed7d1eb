#include "engine/flops.h"

#include <gtest/gtest.h>

#include "engine/batching.h"
#include "support/bundled_encoder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

/// The bundled model's shape, with a refinement layer.
ModelShape shape() {
  ModelShape shape;
  shape.hidden_size = 384;
  shape.intermediate_size = 1536;
  shape.embedding_size = 384;
  shape.vocab_size = 1000;
  shape.late_size = 32;
  shape.max_position_embeddings = 256;
  shape.shared_layers = 2;
  shape.refinement_layers = 1;
  shape.deepest = 6;
  return shape;
}

/// What a layer multiplies, product by product, each 2 rows inner columns.
double layer(double n) {
  const double h = 384;
  const double f = 1536;
  return 2 * n * h * (3 * h) + 2 * n * n * h + 2 * n * n * h + 2 * n * h * h + 2 * n * h * f + 2 * n * f * h;
}

TEST(Flops, CountTheProductsOfEachLayerThatADepthApplies) {
  EXPECT_DOUBLE_EQ(pass_flops(shape(), 100, 1, {}), 4 * layer(100) + 2.0 * 384 * 384);
  EXPECT_DOUBLE_EQ(pass_flops(shape(), 100, 3, {}), 9 * layer(100) + 2.0 * 384 * 384) << "refinement above depth 1";
  EXPECT_DOUBLE_EQ(entry_flops(shape(), 100), layer(100));
}

TEST(Flops, HeadsAddTheirOwn) {
  const double none = pass_flops(shape(), 50, 3, {.dense = false});
  EXPECT_DOUBLE_EQ(pass_flops(shape(), 50, 3, {.dense = false, .late = true}) - none, 2.0 * 50 * 384 * 32);
  EXPECT_DOUBLE_EQ(pass_flops(shape(), 50, 3, {.dense = false, .sparse = true}) - none, 2.0 * 50 * 384 * (384 + 1000));
}

TEST(Flops, SubspacesReadADeepestPassOfTheirOwn) {
  const double plain = pass_flops(shape(), 50, 3, {});
  EXPECT_DOUBLE_EQ(pass_flops(shape(), 50, 3, {}, 64) - plain, 14 * layer(50) + 2.0 * 384 * 64);
  EXPECT_DOUBLE_EQ(pass_flops(shape(), 50, 6, {}, 64) - pass_flops(shape(), 50, 6, {}), 2.0 * 384 * 64);
}

TEST(Flops, ExpertChoiceComputesItsShareOfTheTokensAgainstAllOfThem) {
  ModelShape routed = shape();
  routed.token_capacity = {1.0, 0.5};
  const double h = 384;
  const double part = 26 * (8 * h * h + 4 * h * 1536) + 4.0 * 26 * 51 * h;  // ceil(0.5 * 51)
  EXPECT_DOUBLE_EQ(pass_flops(routed, 51, 3, {}), (3 + 2) * layer(51) + 4 * part + 2 * h * h);
}

TEST(Flops, LongTextsCountEveryWindow) {
  const double pass = pass_flops(shape(), 256, 3, {});
  EXPECT_DOUBLE_EQ(text_flops(shape(), 1000, 5, 3, {}), 5 * pass);
  EXPECT_DOUBLE_EQ(text_flops(shape(), 0, 1, 3, {}), pass_flops(shape(), 2, 3, {}));
}

TEST(Flops, OfAnEncoderAreThoseOfItsConfigAndItsWindows) {
  const Encoder& encoder = testing::encoder();
  const ModelShape own = ModelShape::of(encoder.config());
  const std::size_t size = encoder.max_tokens();
  for (const std::size_t tokens : {std::size_t{0}, std::size_t{7}, size, size + 1, 10 * size}) {
    const auto windows = static_cast<double>(window_spans(tokens, size).size());
    EXPECT_DOUBLE_EQ(encoder.flops(tokens, "easy"), text_flops(own, static_cast<double>(tokens), windows, 1, {}));
  }
  EXPECT_EQ(encoder.flops(9, "auto"), encoder.flops(9, "medium"));
  EXPECT_LT(encoder.flops(9, "medium"), encoder.flops(9, "hard"));
  EXPECT_GT(encoder.flops(std::size_t{1} << 50, "easy"), 1e20) << "without listing the windows";
  EXPECT_THROW((void)encoder.flops(9, "9"), InvalidArgument);
  EXPECT_THROW((void)encoder.flops(9, "easy", {.subspaces = {"nowhere"}}), InvalidArgument);
}

}  // namespace
}  // namespace taesr
