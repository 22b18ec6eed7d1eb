#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "taesr/document.h"

namespace taesr {

/// Throws InvalidArgument that names the document and the field: for an empty or repeated id, text
/// that is not UTF-8, sections out of order or range, and metadata that is not a JSON object.
void check_documents(std::span<const Document> documents);

/// The document's own content hash, or one over all its fields where it has none.
[[nodiscard]] std::string content_hash_of(const Document& document);

/// What filters compare: the metadata's top-level strings, numbers and booleans as text, and each of
/// those in a list under the list's key. Nulls and nested objects are left out.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> properties_of(const Document& document);

/// Throws InvalidArgument for a filter of more keys than a search takes.
void check_filter(const std::map<std::string, std::string>& filter);

/// The same, and for one without any key, which would remove every document.
void check_filter_for_removal(const std::map<std::string, std::string>& filter);

}  // namespace taesr
