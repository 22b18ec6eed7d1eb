#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "taesr/encoder.h"

namespace taesr {

inline constexpr std::size_t kPassageTokens = 180;  // the special ones included

/// The model under test, loaded once for each precision.
[[nodiscard]] const Encoder& sample_encoder(Precision precision);

/// Different texts of kPassageTokens tokens, or nearly.
[[nodiscard]] std::vector<std::string> sample_passages(std::size_t count, const Tokenizer& tokenizer);

/// A question of eight words.
[[nodiscard]] std::string sample_query();

/// Borders of `sequences` sequences of `length` tokens each.
[[nodiscard]] std::vector<std::int64_t> even_offsets(std::int64_t sequences, std::int64_t length);

}  // namespace taesr
