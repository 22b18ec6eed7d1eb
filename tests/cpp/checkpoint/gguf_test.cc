#include "checkpoint/gguf.h"

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "support/files.h"
#include "support/gguf_writer.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::GgufWriter;
using testing::TemporaryDirectory;
using testing::write_bytes;

std::vector<float> values_of(const GgufTensor& tensor) {
  std::vector<float> values(tensor.count());
  dequantise(tensor.type, tensor.bytes, values);
  return values;
}

GgufWriter small_file() {
  GgufWriter writer;
  writer.add("general.architecture", std::string("llama"));
  writer.add("count", std::uint32_t{7});
  writer.add("scale", 0.5F);
  writer.add("words", std::vector<std::string>{"a", "", "bc"});
  writer.add("kinds", std::vector<std::int32_t>{3, -1});
  writer.add_tensor("table", {3, 2}, {1, 2, 3, 4, 5, 6});
  writer.add_tensor("blocks", {32, 2}, 8, std::string(68, '\1'));
  return writer;
}

TEST(Gguf, ReadsMetadataAndTensorsInRowMajorOrder) {
  const TemporaryDirectory folder;
  write_bytes(folder / "m.gguf", small_file().bytes());
  const GgufFile file(folder / "m.gguf");
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.integer("count", 0, 10), 7);
  EXPECT_EQ(file.number("scale"), 0.5);
  EXPECT_EQ(file.texts("words"), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(file.integers("kinds"), (std::vector<std::int64_t>{3, -1}));
  ASSERT_EQ(file.tensors().size(), 2u);
  const GgufTensor& table = file.tensors().at("table");
  EXPECT_EQ(table.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(values_of(table), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(file.tensors().at("blocks").count(), 64u);
}

TEST(Gguf, MissingMistypedAndOutOfRangeMetadataIsNamed) {
  const TemporaryDirectory folder;
  write_bytes(folder / "m.gguf", small_file().bytes());
  const GgufFile file(folder / "m.gguf");
  const auto message = [](const std::function<void()>& act) -> std::string {
    try {
      act();
    } catch (const FormatError& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_NE(message([&] { (void)file.text("absent"); }).find("'absent' is missing"), std::string::npos);
  EXPECT_NE(message([&] { (void)file.text("count"); }).find("'count' is not a text"), std::string::npos);
  EXPECT_NE(message([&] { (void)file.integer("count", 8, 9); }).find("is 7; allowed: 8 to 9"),
            std::string::npos);
}

TEST(GgmlBlocks, HalfPrecisionEqualsTheDefinitionForEveryNumber) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const int mantissa = static_cast<int>(bits & 1023);
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    EXPECT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), mantissa != 0) << bits;
      EXPECT_EQ(std::isinf(value), mantissa == 0) << bits;
    } else {
      const double expected =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      EXPECT_EQ(std::abs(value), expected) << bits;
    }
  }
}

TEST(GgmlBlocks, EveryTypeIsReadByItsFormula) {
  std::string nibbles;
  for (int i = 0; i < 16; ++i) nibbles += static_cast<char>(i | (15 - i) << 4);
  const std::string half_of_one = GgufWriter::raw(std::uint16_t{0x3800});  // 0.5
  const std::string minus_two = GgufWriter::raw(std::uint16_t{0xC000});
  std::string bytes;
  for (int i = 0; i < 32; ++i) bytes += static_cast<char>(i - 16);
  const auto read = [](GgmlType type, const std::string& block) {
    std::vector<float> values(values_per_block(type));
    dequantise(type, std::as_bytes(std::span(block)), values);
    return values;
  };
  const auto q4_0 = read(GgmlType::kQ4_0, half_of_one + nibbles);
  const auto q4_1 = read(GgmlType::kQ4_1, half_of_one + minus_two + nibbles);
  const auto q8_0 = read(GgmlType::kQ8_0, half_of_one + bytes);
  for (int i = 0; i < 32; ++i) {
    const float nibble = static_cast<float>(i < 16 ? i : 31 - i);
    EXPECT_EQ(q4_0[i], (nibble - 8) * 0.5F);
    EXPECT_EQ(q4_1[i], nibble * 0.5F - 2);
    EXPECT_EQ(q8_0[i], static_cast<float>(i - 16) * 0.5F);
  }
  EXPECT_EQ(read(GgmlType::kF16, minus_two), std::vector<float>{-2});
}

struct Damage {
  const char* story;
  const char* expected;  // in the message
  std::function<std::string()> bytes;
};

GgufWriter with_entry(std::vector<std::uint64_t> extents, std::uint32_t type, std::uint64_t offset) {
  GgufWriter writer;
  writer.add_entry("w", extents, type, offset);
  writer.add_tensor("last", {8}, std::vector<float>(8));
  return writer;
}

std::string with_count(std::size_t at, std::uint64_t count) {
  std::string bytes = small_file().bytes();
  std::memcpy(bytes.data() + at, &count, sizeof count);
  return bytes;
}

GgufWriter with_pair(std::uint32_t type, const std::string& bytes) {
  GgufWriter writer;
  writer.add_raw("key", type, bytes);
  return writer;
}

TEST(Gguf, DamagedFilesAreRefusedWithTheFieldNamed) {
  const auto u64 = [](std::uint64_t value) { return GgufWriter::raw(value); };
  const auto u32 = [](std::uint32_t value) { return GgufWriter::raw(value); };
  const std::vector<Damage> cases = {
      {"empty", "magic", [] { return std::string(); }},
      {"another format", "does not begin with 'GGUF'", [] { return std::string(64, 'x'); }},
      {"old version", "version 1", [] { return small_file().bytes(1); }},
      {"big endian", "big endian", [] { return small_file().bytes(0x03000000); }},
      {"tensor count", "number of tensors", [] { return with_count(8, ~0ULL); }},
      {"pair count", "number of metadata values", [] { return with_count(16, 1ULL << 60); }},
      {"type of value", "'key': value type 99", [&] { return with_pair(99, u64(0)).bytes(); }},
      {"bool", "'key': 2 is neither", [] { return with_pair(7, "\2").bytes(); }},
      {"long text", "'key': the file ends", [&] { return with_pair(8, u64(~0ULL)).bytes(); }},
      {"long array", "'key': length", [&] { return with_pair(9, u32(8) + u64(~0ULL)).bytes(); }},
      {"nested array", "arrays of arrays", [&] { return with_pair(9, u32(9) + u64(1)).bytes(); }},
      {"alignment of 3", "general.alignment",
       [] {
         GgufWriter w;
         w.add("general.alignment", std::uint32_t{3});
         return w.bytes();
       }},
      {"pair twice", "'a' appears twice",
       [] {
         GgufWriter w;
         w.add("a", 1.0F);
         w.add("a", 1.0F);
         return w.bytes();
       }},
      {"no dimensions", "0 dimensions", [] { return with_entry({}, 0, 0).bytes(); }},
      {"five dimensions", "5 dimensions", [] { return with_entry({1, 1, 1, 1, 1}, 0, 0).bytes(); }},
      {"size 0", "size 0", [] { return with_entry({0}, 0, 0).bytes(); }},
      {"overflow", "too large", [] { return with_entry({1ULL << 40, 1ULL << 40}, 0, 0).bytes(); }},
      {"unknown type", "type 12 is not", [] { return with_entry({256}, 12, 0).bytes(); }},
      {"part of a block", "whole blocks", [] { return with_entry({33}, 8, 0).bytes(); }},
      {"offset beyond", "lie outside", [] { return with_entry({8}, 0, 64).bytes(); }},
      {"offset huge", "lie outside", [] { return with_entry({8}, 0, ~0ULL - 31).bytes(); }},
      {"offset odd", "multiple of 32", [] { return with_entry({8}, 0, 4).bytes(); }},
      {"overlap", "overlaps", [] { return with_entry({8}, 0, 0).bytes(); }},
      {"cut short", "lie outside",
       [] {
         auto b = small_file().bytes();
         return b.substr(0, b.size() - 64);
       }},
  };
  const TemporaryDirectory folder;
  for (const Damage& damage : cases) {
    write_bytes(folder / "m.gguf", damage.bytes());
    try {
      const GgufFile file(folder / "m.gguf");
      ADD_FAILURE() << damage.story << " was read";
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find(damage.expected), std::string::npos)
          << damage.story << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find("m.gguf"), std::string::npos) << damage.story;
    }
  }
}

TEST(Gguf, MutatedFilesAreReadWholeOrRefused) {
  const TemporaryDirectory folder;
  const std::string whole = small_file().bytes();
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (unsigned change = 0; change <= random() % 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (round % 5 == 0) bytes.resize(random() % bytes.size());
    write_bytes(folder / "m.gguf", bytes);
    try {
      const GgufFile file(folder / "m.gguf");
      for (const auto& [name, tensor] : file.tensors()) EXPECT_EQ(values_of(tensor).size(), tensor.count());
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 700);
}

}  // namespace
}  // namespace taesr
