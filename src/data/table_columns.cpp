#include "table_columns.h"

#include <algorithm>
#include <array>
#include <set>

namespace epitaxy {

std::string quoted(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 32;
  std::string all;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names.size() > kMost && i == 3) {
      i = names.size() - 1;
      all += ", ...";
    }
    all += (all.empty() ? "" : ", ") + names[i];
  }
  return names.size() > kMost ? text(all, " (", names.size(), ")") : all;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> default_features(const Table& table, const DataOptions& options, std::vector<std::string>& notes) {
  std::vector<std::string> features, left_out;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const std::string& name = table.columns[c];
    const std::array<const std::string*, 4> roles{&options.group, &options.sequence, &options.time, &options.split_column};
    const auto is_name = [&](const auto* role) { return !name.empty() && *role == name; };
    if (contains(options.target, name) || std::any_of(roles.begin(), roles.end(), is_name)) continue;
    const bool unnamed = name.empty() || name.starts_with("Unnamed:");
    if (unnamed || !is_numeric(table, c) || is_row_number(table, c))
      left_out.push_back(unnamed ? text("column ", c + 1, " (unnamed)") : name + (is_numeric(table, c) ? " (row number)" : " (text)"));
    else
      features.push_back(name);
  }
  if (features.empty()) {
    const bool commas = std::any_of(table.cells.begin(), table.cells.end(), [](const auto& cells) {
      return !cells.empty() && std::all_of(cells.begin(), cells.end(), has_decimal_comma);
    });
    reject("'", table.path, "' has no numeric column left for features; ",
           commas ? "its numbers have a decimal comma: save it with decimal points" : "name some with --features");
  }
  if (!left_out.empty()) notes.push_back("columns left out: " + quoted(left_out));
  return features;
}

std::vector<std::string> class_names_of(const Table& table, std::size_t column) {
  const auto& cells = table.cells[column];
  std::set<std::string> distinct(cells.begin(), cells.end());
  distinct.erase("");
  std::vector<std::string> names(distinct.begin(), distinct.end());
  if (std::all_of(names.begin(), names.end(), [](const auto& one) { return parse_number(one).has_value(); }))
    std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return *parse_number(a) < *parse_number(b); });
  if (names.size() > 10 && 2 * names.size() > cells.size())
    reject("'", table.path, "' column '", table.columns[column], "' has ", names.size(), " different values in ", cells.size(),
           " rows: that is no class; choose another target or a regression");
  return names;
}

void reject_repeats(const std::vector<std::string>& names, const char* what) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
        names.begin() + static_cast<std::ptrdiff_t>(i))
      reject("column '", names[i], "' is named twice as ", what, "; name it once");
}

}  // namespace epitaxy
