#include "collection/document_rules.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/checksum.h"
#include "core/utf8.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxFilters = 64;

[[noreturn]] void refuse(const Document& document, const std::string& what) {
  throw InvalidArgument("document '" + document.id + "': " + what);
}

void check_utf8(const Document& document, const char* field, const std::string& value) {
  detail::require_utf8(value, "document '" + document.id + "': " + field);
}

void check_sections(const Document& document) {
  std::size_t previous_end = 0;
  for (const Section& section : document.sections) {
    check_utf8(document, "a section's path", section.path);
    if (section.begin < previous_end || section.end < section.begin || section.end > document.text.size()) {
      refuse(document, "section '" + section.path + "' spans bytes " + std::to_string(section.begin) +
                           " to " + std::to_string(section.end) +
                           "; sections must ascend without overlap within 0 to " +
                           std::to_string(document.text.size()));
    }
    previous_end = section.end;
  }
}

void check_document(const Document& document) {
  if (document.id.empty()) throw InvalidArgument("a document without an id; give each one an id of its own");
  detail::require_utf8(document.id, "a document's id");
  check_utf8(document, "title", document.title);
  check_utf8(document, "text", document.text);
  check_utf8(document, "source", document.source);
  check_utf8(document, "content_hash", document.content_hash);
  check_sections(document);
  if (!Json::parse(document.metadata, nullptr, false).is_object()) {
    refuse(document, "metadata must be one JSON object such as {\"product\": \"phone\"}");
  }
}

/// A value that a filter can compare, as text.
std::optional<std::string> as_property(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  return std::nullopt;
}

}  // namespace

void check_documents(std::span<const Document> documents) {
  std::unordered_set<std::string_view> ids;
  for (const Document& document : documents) {
    check_document(document);
    if (!ids.insert(document.id).second) refuse(document, "given twice in one call; ids must be unique");
  }
}

std::string content_hash_of(const Document& document) {
  if (!document.content_hash.empty()) return document.content_hash;
  // Lengths keep apart fields that would read the same end to end.
  std::string fields;
  const auto add = [&](const std::string& value) { fields += std::to_string(value.size()) + ":" + value; };
  for (const auto* value : {&document.title, &document.text, &document.source, &document.metadata})
    add(*value);
  for (const Section& section : document.sections) {
    add(section.path);
    fields += std::to_string(section.begin) + "-" + std::to_string(section.end) + ";";
  }
  std::array<char, 33> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx%016llx",
                static_cast<unsigned long long>(xxh64(fields, 0)),
                static_cast<unsigned long long>(xxh64(fields, 1)));
  return digits.data();
}

std::vector<std::pair<std::string, std::string>> properties_of(const Document& document) {
  std::vector<std::pair<std::string, std::string>> properties;
  const Json metadata = Json::parse(document.metadata);
  for (const auto& [key, value] : metadata.items()) {
    const Json list = value.is_array() ? value : Json::array({value});
    for (const Json& item : list) {
      if (const auto text = as_property(item)) properties.emplace_back(key, *text);
    }
  }
  return properties;
}

void check_filter(const std::map<std::string, std::string>& filter) {
  if (filter.size() <= kMaxFilters) return;
  throw InvalidArgument("a filter of " + std::to_string(filter.size()) + " keys; at most " +
                        std::to_string(kMaxFilters) + " are allowed");
}

void check_filter_for_removal(const std::map<std::string, std::string>& filter) {
  if (filter.empty())
    throw InvalidArgument("an empty filter would remove every document; name a key and value");
  check_filter(filter);
}

}  // namespace taesr
