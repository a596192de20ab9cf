#include "table_items.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>

#include "file.h"

namespace epitaxy {

void check_sequence_options(const DataOptions& options) {
  const bool is_long = !options.sequence.empty();
  require(!(is_long && options.wide), "--wide (each row is a sequence) and --sequence (each row is a step) exclude each other");
  const char* orphan = is_long                         ? nullptr
                       : options.window > 0            ? "window"
                       : !options.time.empty()         ? "time"
                       : options.remaining_life        ? "remaining-life"
                       : !options.test_targets.empty() ? "test-targets"
                                                       : nullptr;
  if (orphan) reject("--", orphan, " needs --sequence, the column that says which sequence (unit, run, engine) a row belongs to");
  require(!options.remaining_life || options.window > 0, "--remaining-life needs --window: at the end of a whole sequence nothing remains");
  require(options.stride <= 1 || options.window > 0, "--stride is from one window to the next; it needs --window");
  require(!options.pad || options.window > 0 || options.wide, "--pad needs --window or --wide; whole sequences are always padded");
  require(options.window >= 0 && options.stride >= 1 && options.steps >= 0, "windows: ", options.window, " steps at stride ",
          options.stride, "; both must be positive");
}

TableItems::TableItems(std::shared_ptr<const Table> table, const DataOptions& options, std::span<const std::int64_t> rows,
                       const std::vector<std::string>& features, bool last_only)
    : table_(std::move(table)), options_(options), features_(features) {
  for (const auto& name : features_) columns_.push_back(table_->column(name));
  read_cells();
  if (!options_.time.empty()) read_time();
  find_sequences(rows);
  cut(last_only);
  set_steps();
}

std::string TableItems::place(std::int64_t row) const {
  return text("'", table_->path, "' line ", table_->lines[static_cast<std::size_t>(row)]);
}

void TableItems::read_cells() {
  const std::size_t width = columns_.size(), rows = static_cast<std::size_t>(table_->rows());
  const bool may_end_early = options_.wide && options_.pad;
  values_.assign(rows * width, 0.0f);
  filled_.assign(may_end_early ? rows : 0, 0);
  for (std::size_t row = 0; row < rows; ++row) {
    std::size_t steps = width;
    if (may_end_early) {
      while (steps > 0 && table_->cells[columns_[steps - 1]][row].empty()) --steps;
      if (steps == 0) fail(place(static_cast<std::int64_t>(row)), ": a sequence without steps; remove the row");
      filled_[row] = static_cast<std::int64_t>(steps);
    }
    for (std::size_t c = 0; c < steps; ++c)
      values_[row * width + c] = static_cast<float>(number_at(*table_, columns_[c], static_cast<std::int64_t>(row)));
  }
}

namespace {

/// Dates and times of day that are written so that their order is that of text (ISO 8601, without an offset from UTC), brought to one form.
std::optional<std::string> sort_key(std::string cell) {
  if (cell.ends_with('Z')) cell.pop_back();
  if (cell.size() > 10 && cell[10] == 'T') cell[10] = ' ';
  std::string form = cell;
  for (char& c : form)
    if (c >= '1' && c <= '9') c = '0';
  const std::size_t fraction = form.find_first_of(".,");  // of a second
  if (fraction != std::string::npos && form.find_first_not_of('0', fraction + 1) == std::string::npos) form.resize(fraction);
  static const std::array<std::string_view, 5> forms{"0000-00-00", "0000-00-00 00:00", "0000-00-00 00:00:00", "00:00", "00:00:00"};
  if (std::find(forms.begin(), forms.end(), form) == forms.end()) return {};
  return cell;
}

}  // namespace

void TableItems::read_time() {
  const std::size_t column = table_->column(options_.time);
  if (is_numeric(*table_, column)) {
    for (std::int64_t row = 0; row < table_->rows(); ++row) time_.push_back(number_at(*table_, column, row));
    return;
  }
  if (options_.remaining_life)
    reject("'", table_->path, "' column '", options_.time, "' is no number, which --remaining-life needs; leave --time out to count steps");
  std::map<std::string, double> rank;
  std::vector<std::string> keys;
  for (std::int64_t row = 0; row < table_->rows(); ++row) {
    const std::string& cell = table_->cells[column][static_cast<std::size_t>(row)];
    const auto key = sort_key(cell);
    if (!key)
      fail(place(row), ", column '", options_.time, "': '", cell,
           "' is neither a number nor a date or time of day written like 2026-11-22T14:05 or 09:05:30; rewrite the column, or leave --time "
           "out");
    rank[keys.emplace_back(*key)] = 0;
  }
  double next = 0;
  for (auto& [key, number] : rank) number = next++;
  for (const auto& key : keys) time_.push_back(rank[key]);
}

void TableItems::find_sequences(std::span<const std::int64_t> rows) {
  if (!is_long()) {
    for (const std::int64_t row : rows) sequences_.push_back({text("line ", table_->lines[static_cast<std::size_t>(row)]), {row}});
    return;
  }
  const std::size_t column = table_->column(options_.sequence);
  std::map<std::string, std::size_t> known;
  for (const std::int64_t row : rows) {
    const std::string& name = table_->cells[column][static_cast<std::size_t>(row)];
    if (name.empty()) fail(place(row), ", column '", options_.sequence, "': the cell is empty; it says which sequence the row belongs to");
    const auto [found, fresh] = known.emplace(name, sequences_.size());
    if (fresh) sequences_.push_back({options_.sequence + " " + name, {}});
    sequences_[found->second].rows.push_back(row);
  }
  if (time_.empty()) return;
  const auto time = [&](std::int64_t row) { return time_[static_cast<std::size_t>(row)]; };
  for (auto& one : sequences_) {
    std::stable_sort(one.rows.begin(), one.rows.end(), [&](std::int64_t a, std::int64_t b) { return time(a) < time(b); });
    for (std::size_t i = 1; i < one.rows.size(); ++i)
      if (time(one.rows[i]) == time(one.rows[i - 1]))
        fail(place(one.rows[i]), ", column '", options_.time, "': ", one.name, " has this time in line ",
             table_->lines[static_cast<std::size_t>(one.rows[i - 1])], " too; remove one of the rows");
  }
}

void TableItems::cut(bool last_only) {
  for (std::size_t s = 0; s < sequences_.size(); ++s) {
    const auto& rows = sequences_[s].rows;
    const auto length = static_cast<std::int64_t>(rows.size());
    if (!is_long() || options_.window == 0) {
      items_.push_back({s, 0, length});
    } else if (length < options_.window) {
      if (!options_.pad)
        reject(place(rows[0]), ": ", sequences_[s].name, " has ", length, " rows, fewer than the window of ", options_.window,
               "; shorten --window, or pad it (--pad)");
      items_.push_back({s, 0, length});
    } else {
      const std::int64_t last = length - options_.window;  // where the last window begins
      for (std::int64_t first = last_only ? last : last % options_.stride; first <= last; first += options_.stride)
        items_.push_back({s, first, options_.window});
    }
  }
}

void TableItems::set_steps() {
  if (!is_long()) {
    lengths_ = !filled_.empty();
    return;
  }
  const auto count = [](const Item& a, const Item& b) { return a.count < b.count; };
  const auto longest = std::max_element(items_.begin(), items_.end(), count),
             shortest = std::min_element(items_.begin(), items_.end(), count);
  if (items_.empty()) return;
  steps_ = options_.window > 0 ? options_.window : options_.steps > 0 ? options_.steps : longest->count;
  if (longest->count > steps_)
    reject(place(sequences_[longest->sequence].rows[0]), ": ", sequences_[longest->sequence].name, " has ", longest->count,
           " rows, more than the ", steps_, " of the longest training sequence; train on windows (--window), or shorten it");
  lengths_ = options_.pad || shortest->count < steps_;
}

std::int64_t TableItems::last_row(std::int64_t item) const {
  const Item& one = at(item);
  return sequences_[one.sequence].rows[static_cast<std::size_t>(one.first + one.count - 1)];
}

double TableItems::remaining_life(std::int64_t item) const {
  const Item& one = at(item);
  const auto& rows = sequences_[one.sequence].rows;
  if (time_.empty()) return static_cast<double>(static_cast<std::int64_t>(rows.size()) - (one.first + one.count));
  return time_[static_cast<std::size_t>(rows.back())] - time_[static_cast<std::size_t>(last_row(item))];
}

std::string TableItems::describe() const {
  if (!is_long()) return options_.wide ? text("sequences: one a row, ", columns_.size(), " steps") : std::string();
  const auto length = [](const Sequence& a, const Sequence& b) { return a.rows.size() < b.rows.size(); };
  const auto [shortest, longest] = std::minmax_element(sequences_.begin(), sequences_.end(), length);
  std::string line = text("sequences: ", sequences_.size(), " of ", shortest->rows.size(), "..", longest->rows.size(), " steps");
  if (options_.window > 0) line += text("; ", items_.size(), " windows of ", options_.window, " steps, stride ", options_.stride);
  return line;
}

std::string TableItems::name_of(const Item& item) const {
  const Sequence& sequence = sequences_[item.sequence];
  const auto end = static_cast<std::size_t>(item.first + item.count);
  if (!is_long() || end == sequence.rows.size()) return sequence.name;
  const auto row = static_cast<std::size_t>(sequence.rows[end - 1]);
  if (options_.time.empty()) return text(sequence.name, " to line ", table_->lines[row]);
  return text(sequence.name, " to ", options_.time, " ", table_->cells[table_->column(options_.time)][row]);
}

Dataset TableItems::read(std::span<const std::int64_t> items) const {
  const auto count = static_cast<std::int64_t>(items.size()), width = static_cast<std::int64_t>(columns_.size());
  Dataset data;
  data.source = table_->path;
  data.feature_names = features_;
  const Shape shape = is_long() ? Shape{count, steps_, width} : options_.wide ? Shape{count, width, 1} : Shape{count, width};
  data.inputs = allocate_host({DType::fp32, shape}, table_->path);
  if (lengths_) data.lengths = allocate_host({DType::int32, {count}}, table_->path);
  std::memset(data.inputs.data(), 0, data.inputs.bytes());
  float* to = data.inputs.as<float>();
  for (std::int64_t i = 0; i < count; ++i) {
    const Item& item = at(items[static_cast<std::size_t>(i)]);
    const auto& rows = sequences_[item.sequence].rows;
    for (std::int64_t step = 0; step < item.count; ++step)
      std::copy_n(values_.begin() + rows[static_cast<std::size_t>(item.first + step)] * width, width, to + (i * steps_ + step) * width);
    if (lengths_)
      data.lengths.as<std::int32_t>()[i] =
          static_cast<std::int32_t>(options_.wide ? filled_[static_cast<std::size_t>(rows[0])] : item.count);
    data.names.push_back(name_of(item));
  }
  return data;
}

}  // namespace epitaxy
