#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace taesr {

/// Inner loops over compressed vectors, for one set of instructions. Nothing needs alignment, and nothing
/// is read past what the lengths say.
struct CodeKernels {
  std::string name;

  /// Sum of query[i] * codes[i], n values.
  float (*dot_int8)(const float* query, const std::int8_t* codes, std::size_t n);
  /// Sum of query[i] * (low half of byte i) + query[bytes + i] * (high half of byte i).
  float (*dot_int4)(const float* query, const std::uint8_t* codes, std::size_t bytes);
  /// Sum of query[i] where bit i (the lowest of a byte first) is set; the query has 8 * bytes values.
  float (*dot_bits)(const float* query, const std::uint8_t* bits, std::size_t bytes);
  /// Sum of query[i] * half[i], n IEEE 754 binary16 values.
  float (*dot_half)(const float* query, const std::uint16_t* halves, std::size_t n);
  /// Sum of query[i] * (next of values) over the bits i that are set, in their order.
  float (*dot_marked)(const float* query, const std::uint8_t* bits, std::size_t bytes,
                      const std::int8_t* values);
  /// Sum of table[256 * i + codes[i]], n codes.
  float (*sum_of_table)(const float* table, const std::uint8_t* codes, std::size_t n);
  /// Number of bits that differ.
  std::uint32_t (*hamming)(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes);
  /// products[j] = start[j] + sum over n of x[i] * columns[256 * i + j], for j from 0 to 255.
  void (*products_256)(const float* x, const float* columns, std::size_t n, const float* start,
                       float* products);
};

/// The fastest that this machine runs, chosen once.
[[nodiscard]] const CodeKernels& best_code_kernels();

/// All that this machine runs, the fastest first; "portable" is always the last.
[[nodiscard]] std::vector<CodeKernels> code_kernels();

// One a source file; only those that the processor has may be called.
[[nodiscard]] CodeKernels portable_code_kernels();
#if defined(__x86_64__)
[[nodiscard]] CodeKernels avx2_code_kernels();
[[nodiscard]] CodeKernels avx512_code_kernels();
#endif

}  // namespace taesr
