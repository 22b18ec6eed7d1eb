// Files that were damaged on the way, or made to do harm.

#include <random>

#include <gtest/gtest.h>

#include "support/files.h"
#include "support/small_gguf_decoder.h"
#include "support/temporary_directory.h"
#include "taesr/decoder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::TemporaryDirectory;
using testing::write_bytes;

DecoderConfig config_in_blocks() {
  DecoderConfig config = testing::small_decoder();
  config.vocab_size = 256 + static_cast<std::int64_t>(testing::kMerges.size()) + 2;
  config.hidden_size = 32;
  config.intermediate_size = 32;
  config.head_dim = 8;
  return config;
}

std::string whole_file(GgmlType type) { return testing::small_gguf_decoder(1, config_in_blocks(), type); }

/// Where the numbers and names of the tensors lie is what matters most.
std::size_t random_place(const std::string& bytes, std::mt19937& random) {
  const std::size_t table = bytes.find("blk.0");
  const std::size_t config = bytes.find("llama.embedding_length");
  switch (random() % 4) {
    case 0: return random() % bytes.size();
    case 1: return config + random() % 300;
    default: return table + random() % 1500;
  }
}

TEST(DamagedDecoder, EveryMutatedFileIsRefusedWithAReasonOrRuns) {
  const TemporaryDirectory folder;
  std::mt19937 random(17);
  int refused = 0;
  int ran = 0;
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kQ4_0}) {
    const std::string whole = whole_file(type);
    for (int round = 0; round < 400; ++round) {
      std::string bytes = whole;
      for (std::uint32_t count = 1 + random() % 3; count > 0; --count) {
        const std::size_t place = random_place(bytes, random) % bytes.size();
        bytes[place] = static_cast<char>(random() % 3 == 0 ? 0xFF : random());
      }
      if (random() % 10 == 0) bytes.resize(random() % bytes.size());
      write_bytes(folder / "m.gguf", bytes);
      try {
        const Decoder decoder = Decoder::load(folder / "m.gguf");
        (void)decoder.logits(std::vector<int>{0, 1, 2});
        (void)decoder.generate(std::vector<int>{65, 66}, {.max_tokens = 3});
        ++ran;
      } catch (const Error& error) {
        EXPECT_GT(std::string(error.what()).size(), 20u);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 300);
  EXPECT_GT(ran, 20);  // some damage is only to weights
}

TEST(DamagedDecoder, WeightsThatAreNotFiniteAreNamed) {
  for (const GgmlType type : {GgmlType::kF16, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0}) {
    const TemporaryDirectory folder;
    std::string bytes = whole_file(type);
    const auto up =
        testing::random_decoder_weights(config_in_blocks(), 1).at("model.layers.1.mlp.up_proj.weight");
    const std::size_t place = bytes.find(testing::ggml_bytes(type, up.second));
    ASSERT_NE(place, std::string::npos);
    bytes.replace(place, 2, std::string("\0\x7C", 2));  // infinity, as the scale of a block
    write_bytes(folder / "m.gguf", bytes);
    try {
      (void)Decoder::load(folder / "m.gguf");
      ADD_FAILURE() << name_of(type) << " was read";
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find("'blk.1.ffn_up.weight' holds a value that is not finite"),
                std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace taesr
