// Tables of text: comma, semicolon or tab separated (the one most frequent in the first line; blanks where there is none), quotes as in
// RFC 4180, a header line. Also gzip-compressed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace epitaxy {

struct Table {
  std::string path;
  std::vector<std::string> columns;             // header; may hold empty names
  std::vector<std::vector<std::string>> cells;  // [column][row], outer blanks trimmed
  std::vector<std::int64_t> lines;              // [row] line of the file where the row begins, from 1

  std::int64_t rows() const { return static_cast<std::int64_t>(lines.size()); }
  /// Index of the column of that name; rejects an unknown one (the message lists those there are) or one that occurs twice.
  std::size_t column(std::string_view name) const;
};

/// Error for: a missing or empty file, bytes that are not UTF-8 text, no header (a first line of numbers alone), rows of another length
/// than the header (named by line), an open quote. With `columns` given the file has no header, and these are its names.
Table read_csv(const std::string& path, const std::vector<std::string>& columns = {});

/// The number a cell holds ("1.5", "-3e4", "+2", "nan", "inf"), independent of the locale; nothing where it is not one.
std::optional<double> parse_number(std::string_view cell);

/// The finite number at (column, row); an empty, non-numeric or NaN cell is an Error that names file, line and column.
double number_at(const Table& table, std::size_t column, std::int64_t row);

/// "1,5": a number but for its decimal comma.
bool has_decimal_comma(std::string_view cell);

/// True where more than half of the filled cells are numbers, so that one broken cell is reported and not taken for text.
bool is_numeric(const Table& table, std::size_t column);

/// True where the cells are 0..n-1 or 1..n in order.
bool is_row_number(const Table& table, std::size_t column);

}  // namespace epitaxy
