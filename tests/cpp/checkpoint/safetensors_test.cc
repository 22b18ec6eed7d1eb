#include "checkpoint/safetensors.h"

#include <cstring>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::TemporaryDirectory;

std::span<const std::byte> bytes_of(const std::vector<float>& values) { return std::as_bytes(std::span(values)); }

/// A file of this header and this many data bytes.
void write_raw(const std::filesystem::path& path, const std::string& header, std::size_t data) {
  std::string content(8, '\0');
  const std::uint64_t size = header.size();
  std::memcpy(content.data(), &size, 8);
  write_file_atomically(path, content + header + std::string(data, '\1'));
}

TEST(Safetensors, ReadsBackWhatWasWritten) {
  const TemporaryDirectory folder;
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<float> b = {7};
  write_safetensors(folder / "m", {{"b", {DType::kFloat32, {}, bytes_of(b)}}, {"a", {DType::kFloat32, {2, 3}, bytes_of(a)}}},
                    {{"format", "pt"}});
  const SafetensorsFile file(folder / "m");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const TensorView& view = file.tensors().at("a");
  EXPECT_EQ(view.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(view.bytes.data(), a.data(), view.bytes.size()), 0);
  EXPECT_TRUE(file.tensors().at("b").shape.empty());
}

TEST(Safetensors, DataStartsAligned) {
  const TemporaryDirectory folder;
  const std::vector<float> a = {1};
  write_safetensors(folder / "m", {{"odd name", {DType::kFloat32, {1}, bytes_of(a)}}});
  const std::string content = read_file(folder / "m", 1 << 20);
  EXPECT_EQ((content.size() - 4) % 8, 0u);
}

TEST(Safetensors, WritingBytesThatDoNotFitTheShapeIsRefused) {
  const TemporaryDirectory folder;
  const std::vector<float> a = {1, 2};
  EXPECT_THROW(write_safetensors(folder / "m", {{"a", {DType::kFloat32, {3}, bytes_of(a)}}}), InvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(folder / "m"));
}

struct Malformed {
  const char* story;
  const char* header;
  std::size_t data;
  const char* message;
};

class MalformedSafetensors : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedSafetensors, IsRefusedWithItsReason) {
  const TemporaryDirectory folder;
  write_raw(folder / "m", GetParam().header, GetParam().data);
  try {
    const SafetensorsFile file(folder / "m");
    FAIL() << GetParam().story;
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Headers, MalformedSafetensors,
    ::testing::Values(
        Malformed{"not JSON", "{", 0, "not valid JSON"}, Malformed{"a list", "[]", 0, "not a JSON object"},
        Malformed{"not UTF-8", "{\"\xff\":1}", 0, "not valid JSON"},
        Malformed{"missing shape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "exactly dtype, shape"},
        Malformed{"extra member", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "exactly dtype"},
        Malformed{"unknown dtype", R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "dtype \"F99\""},
        Malformed{"negative size", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "integers from 0"},
        Malformed{"fractional size", R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "integers from 0"},
        Malformed{"too many dimensions", R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
                  "at most 8"},
        Malformed{"overflowing product",
                  R"({"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}})", 4, "do not fit"},
        Malformed{"offsets past the end", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "outside"},
        Malformed{"offsets reversed", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "outside"},
        Malformed{"offsets not a pair", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "two integers"},
        Malformed{"wrong length", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "do not fit"},
        Malformed{"overlap",
                  R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  4, "hole or overlap"},
        Malformed{"hole",
                  R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                  12, "hole or overlap"},
        Malformed{"trailing bytes", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "after the last"},
        Malformed{"same name twice",
                  R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  4, "appears twice"},
        Malformed{"metadata not strings", R"({"__metadata__":{"a":1}})", 0, "object of strings"}));

TEST(Safetensors, HeaderLongerThanTheFileIsRefused) {
  const TemporaryDirectory folder;
  write_file_atomically(folder / "short", "1234567");
  EXPECT_THROW(SafetensorsFile(folder / "short"), FormatError);
  write_file_atomically(folder / "huge", std::string(8, '\x7f'));
  EXPECT_THROW(SafetensorsFile(folder / "huge"), FormatError);
}

TEST(Safetensors, DeepNestingIsRefusedWithoutRecursingIntoIt) {
  const TemporaryDirectory folder;
  write_raw(folder / "m", std::string(100'000, '['), 0);
  EXPECT_THROW(SafetensorsFile(folder / "m"), FormatError);
}

// Whatever the bytes, opening either throws or yields views that lie inside the file.
TEST(Safetensors, MutatedFilesNeverYieldViewsOutsideTheFile) {
  const TemporaryDirectory folder;
  const std::vector<float> a(24, 1.5F);
  const std::vector<float> b(5, 2.5F);
  write_safetensors(folder / "m", {{"a", {DType::kFloat32, {4, 6}, bytes_of(a)}}, {"b", {DType::kFloat32, {5}, bytes_of(b)}}});
  const std::string good = read_file(folder / "m", 1 << 20);
  std::mt19937 random(7);
  std::size_t accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good;
    for (unsigned n = 1 + random() % 3; n > 0; --n) bad[random() % bad.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bad.resize(random() % bad.size());
    std::ofstream(folder / "x", std::ios::binary) << bad;
    try {
      const SafetensorsFile file(folder / "x");
      ++accepted;
      for (const auto& [name, view] : file.tensors()) {
        unsigned sum = 0;
        for (const std::byte byte : view.bytes) sum += static_cast<unsigned>(byte);
        EXPECT_LE(view.bytes.size(), bad.size());
        EXPECT_GE(sum, 0u);
      }
    } catch (const FormatError&) {
    }
  }
  EXPECT_GT(accepted, 0u);  // flips in the data are not the header's business
}

}  // namespace
}  // namespace taesr
