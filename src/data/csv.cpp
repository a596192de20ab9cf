// Tables of text (RFC 4180).
#include "epitaxy/data/csv.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "file.h"
#include "gzip.h"
#include "table_columns.h"

namespace epitaxy {

namespace {

std::string_view trim(std::string_view cell) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!cell.empty() && blank(cell.front())) cell.remove_prefix(1);
  while (!cell.empty() && blank(cell.back())) cell.remove_suffix(1);
  return cell;
}

/// Walks through the text one row at a time. With a blank as the separator, any run of blanks separates, and those at the ends do not
/// count.
class Rows {
 public:
  Rows(const std::string& path, std::string_view text) : path_(path), text_(text) {}
  void set_separator(char separator) { separator_ = separator; }
  std::int64_t line() const { return row_line_; }

  /// The cells of the next row that is not blank; false at the end.
  bool next(std::vector<std::string>& cells) {
    do {
      if (at_ >= text_.size()) return false;
      read_row(cells);
    } while (cells.size() == 1 && cells[0].empty());
    return true;
  }

 private:
  void read_row(std::vector<std::string>& cells) {
    cells.clear();
    row_line_ = line_;
    for (;;) {
      skip_blanks();
      const bool past_last = separator_ == ' ' && !cells.empty() && at_line_end();
      if (!past_last) cells.push_back(read_cell());
      if (at_ >= text_.size()) return;
      const char end = text_[at_++];
      if (separates(end)) continue;
      if (end == '\r' && at_ < text_.size() && text_[at_] == '\n') ++at_;
      ++line_;
      return;
    }
  }

  bool separates(char c) const { return c == separator_ || (separator_ == ' ' && c == '\t'); }
  bool at_line_end() const { return at_ >= text_.size() || text_[at_] == '\n' || text_[at_] == '\r'; }
  bool at_cell_end() const { return at_line_end() || separates(text_[at_]); }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || (text_[at_] == '\t' && separator_ != '\t'))) ++at_;
  }

  std::string read_cell() {
    if (at_ >= text_.size() || text_[at_] != '"') {
      const std::size_t first = at_;
      while (!at_cell_end()) ++at_;
      return std::string(trim(text_.substr(first, at_ - first)));
    }
    std::string cell;
    const std::int64_t opened = line_;
    for (++at_;; ++at_) {
      if (at_ >= text_.size()) fail("'", path_, "' line ", opened, ": a quoted cell has no end; close the quote");
      if (text_[at_] == '"') {
        if (at_ + 1 >= text_.size() || text_[at_ + 1] != '"') break;
        ++at_;  // a doubled quote stands for one
      }
      if (text_[at_] == '\n') ++line_;
      cell += text_[at_];
    }
    ++at_;
    while (!at_cell_end()) {
      if (text_[at_] != ' ' && text_[at_] != '\t') fail("'", path_, "' line ", line_, ": text behind a quoted cell; quote the whole cell");
      ++at_;
    }
    return cell;
  }

  const std::string& path_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1, row_line_ = 1;
  char separator_ = ',';
};

char find_separator(std::string_view header) {
  const std::array<char, 3> candidates{',', ';', '\t'};
  std::array<std::int64_t, 3> counts{};
  bool quoted = false;
  for (const char c : header) {
    if (c == '"') quoted = !quoted;
    for (std::size_t i = 0; i < candidates.size(); ++i) counts[i] += !quoted && c == candidates[i];
  }
  if (counts == std::array<std::int64_t, 3>{} && trim(header).find(' ') != std::string_view::npos) return ' ';
  return candidates[static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin())];
}

}  // namespace

std::size_t Table::column(std::string_view name) const {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found == columns.end()) {
    std::vector<std::string> known = columns;
    std::erase(known, "");
    reject("'", path, "' has no column '", name, "'; it has ", quoted(known));
  }
  if (std::find(found + 1, columns.end(), name) != columns.end()) reject("'", path, "' has two columns named '", name, "'; rename one");
  return static_cast<std::size_t>(found - columns.begin());
}

Table read_csv(const std::string& path, const std::vector<std::string>& columns) {
  const std::vector<std::uint8_t> bytes = read_expanded(path);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // byte-order mark
  if (text.find('\0') != std::string_view::npos) reject("'", path, "' is not a table of text (it holds zero bytes); save it as CSV, UTF-8");
  if (const std::size_t valid = utf8_length(text); valid != text.size())
    reject("'", path, "' line ", 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(valid), '\n'),
           " is not UTF-8; save the table as CSV, UTF-8");
  Rows rows(path, text);
  const std::size_t start = std::min(text.find_first_not_of("\r\n"), text.size());
  rows.set_separator(find_separator(text.substr(start, text.find_first_of("\r\n", start) - start)));

  Table table;
  table.path = path;
  table.columns = columns;
  if (columns.empty()) {
    if (!rows.next(table.columns)) fail("'", path, "' is empty; a table has a header line and rows");
    const auto number = [](const std::string& cell) { return parse_number(cell).has_value(); };
    if (std::all_of(table.columns.begin(), table.columns.end(), number))
      reject("'", path, "' has no header: its first line holds numbers alone; put the column names there, or give them with --columns");
  }
  table.cells.resize(table.columns.size());
  for (std::vector<std::string> cells; rows.next(cells);) {
    if (cells.size() != table.columns.size())
      fail("'", path, "' line ", rows.line(), ": ", cells.size(), " cells, but ",
           columns.empty() ? "the header has " : "there are names for ", table.columns.size(),
           columns.empty() ? "; complete the row" : "; complete the row, or correct the names");
    for (std::size_t c = 0; c < cells.size(); ++c) table.cells[c].push_back(std::move(cells[c]));
    table.lines.push_back(rows.line());
  }
  if (table.rows() == 0) fail("'", path, "' has ", columns.empty() ? "a header but " : "", "no rows");
  return table;
}

std::optional<double> parse_number(std::string_view cell) {
  cell = trim(cell);
  if (cell.starts_with('+') && cell.size() > 1 && cell[1] != '-' && cell[1] != '+') cell.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (cell.empty() || error == std::errc::invalid_argument || end != cell.data() + cell.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::nullopt;
  return value;
}

double number_at(const Table& table, std::size_t column, std::int64_t row) {
  const std::string& cell = table.cells[column][static_cast<std::size_t>(row)];
  const auto value = parse_number(cell);
  const auto complain = [&](const auto& what) {
    fail("'", table.path, "' line ", table.lines[static_cast<std::size_t>(row)], ", column '", table.columns[column], "': ", what,
         "; fill it in, remove the row, or leave the column out with --features");
  };
  if (cell.empty()) complain("the cell is empty");
  if (!value) complain("'" + cell + (has_decimal_comma(cell) ? "' has a decimal comma where a point is read" : "' is not a number"));
  if (!std::isfinite(*value)) complain("'" + cell + "' is not a finite number");
  if (std::fabs(*value) > 3.4e38) complain("'" + cell + "' exceeds the range of fp32");
  return *value;
}

bool has_decimal_comma(std::string_view cell) {
  std::string point(cell);
  const std::size_t comma = point.find(',');
  if (comma == std::string::npos) return false;
  point[comma] = '.';
  return parse_number(point).has_value();
}

bool is_numeric(const Table& table, std::size_t column) {
  std::int64_t filled = 0, numbers = 0;
  for (const auto& cell : table.cells[column]) {
    filled += !cell.empty();
    numbers += parse_number(cell).has_value();
  }
  return 2 * numbers > filled;
}

bool is_row_number(const Table& table, std::size_t column) {
  double expected = 0;
  for (const auto& cell : table.cells[column]) {
    const auto value = parse_number(cell);
    if (!value) return false;
    if (&cell == &table.cells[column].front()) expected = *value == 1 ? 1 : 0;
    if (*value != expected) return false;
    expected += 1;
  }
  return true;
}

}  // namespace epitaxy
