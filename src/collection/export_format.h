#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace taesr {

// The files of an exported collection; taesr/maintenance.h says what is in them.
inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kDocumentsFile = "documents.jsonl";
inline constexpr const char* kChunksFile = "chunks.jsonl";
inline constexpr const char* kExportFormat = "taesr-collection";
inline constexpr int kExportVersion = 1;

using Json = nlohmann::ordered_json;  // keys stay in the order in which people wrote them

/// Throws FormatError, with `where`, for text that is not JSON or is nested deeper than it is safe to walk.
[[nodiscard]] Json parse_json(std::string_view text, const std::string& where);

/// One line of JSON. Throws FormatError for text that is not UTF-8.
[[nodiscard]] std::string to_line(const Json& value, const std::string& where);

/// Size and checksum of a file, as the manifest has them.
[[nodiscard]] Json describe_file(const std::filesystem::path& file);

/// What comes before the values in a .npy file, version 1.0. `type` is NumPy's, such as "<f4".
[[nodiscard]] std::string npy_header(const std::string& type, std::span<const std::size_t> shape);

/// The values of a .npy file. Throws FormatError unless it has this type, in C order, and this shape.
[[nodiscard]] std::span<const std::byte> npy_values(std::span<const std::byte> file, const std::string& type,
                                                    std::size_t item_size, std::span<const std::size_t> shape,
                                                    const std::string& name);

}  // namespace taesr
