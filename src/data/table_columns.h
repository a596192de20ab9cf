// The columns of a table: which are features, which classes one names.
#pragma once

#include <string>
#include <vector>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/source.h"

namespace epitaxy {

/// The names, separated by commas; of more than 32 the first three, the last and how many there are.
std::string quoted(const std::vector<std::string>& names);
bool contains(const std::vector<std::string>& names, const std::string& name);
/// Rejects a name that occurs twice; `what` it names is for the message.
void reject_repeats(const std::vector<std::string>& names, const char* what);

/// Numeric columns but those with another role, and those that are unnamed or merely count rows. A note says what is left out.
std::vector<std::string> default_features(const Table& table, const DataOptions& options, std::vector<std::string>& notes);

/// The different cells of a target column, sorted as text, numbers by value. Empty ones do not count; too many for classes are an Error.
std::vector<std::string> class_names_of(const Table& table, std::size_t column);

}  // namespace epitaxy
