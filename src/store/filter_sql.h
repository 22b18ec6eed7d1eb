#pragma once

#include <string>

#include "store/database.h"
#include "taesr/collection.h"

namespace taesr {

/// A condition on `column`, a document's number, that holds for documents with all of these properties.
/// Its parameters are numbered from 1, in the filter's order.
inline std::string filter_condition(const Collection::Filter& filter, const std::string& column) {
  std::string sql = "TRUE";
  for (std::size_t i = 0; i < filter.size(); ++i) {
    sql += " AND " + column + " IN (SELECT document FROM properties WHERE key = ? AND value = ?)";
  }
  return sql;
}

/// Binds the parameters of `filter_condition`.
inline void bind_filter(Statement& statement, const Collection::Filter& filter) {
  int parameter = 0;
  for (const auto& [key, value] : filter) {
    statement.bind(++parameter, key);
    statement.bind(++parameter, value);
  }
}

}  // namespace taesr
