// Which cells of a table make up an item: those of one row, or of consecutive rows of a sequence.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/source.h"

namespace epitaxy {

/// Rows of a table that belong together, in the order of time.
struct Sequence {
  std::string name;
  std::vector<std::int64_t> rows;  // of the table
};

class TableItems {
 public:
  /// Items of the given rows. Every cell of the feature columns is read here, whichever row it is in, so that a damaged one is said before
  /// hours of training. `last_only`: of each sequence the last window alone.
  TableItems(std::shared_ptr<const Table> table, const DataOptions& options, std::span<const std::int64_t> rows,
             const std::vector<std::string>& features, bool last_only = false);

  std::int64_t size() const { return static_cast<std::int64_t>(items_.size()); }
  const std::vector<Sequence>& sequences() const { return sequences_; }
  std::int64_t steps() const { return steps_; }
  /// Which sequence an item is of.
  std::size_t sequence_of(std::int64_t item) const { return at(item).sequence; }
  /// The row of the table that an item ends with.
  std::int64_t last_row(std::int64_t item) const;
  /// Time, or steps, from an item's end to the end of its sequence.
  double remaining_life(std::int64_t item) const;
  /// One line about sequences and windows; "" for a plain table.
  std::string describe() const;

  /// Inputs, lengths and names of the items: [N, F] of rows, [N, T, F] of sequences, [N, T, 1] of a wide table.
  Dataset read(std::span<const std::int64_t> items) const;

 private:
  struct Item {
    std::size_t sequence;
    std::int64_t first, count;  // steps of the sequence
  };

  const Item& at(std::int64_t item) const { return items_[static_cast<std::size_t>(item)]; }
  bool is_long() const { return !options_.sequence.empty(); }
  std::string place(std::int64_t row) const;  // "'file' line 7"
  std::string name_of(const Item& item) const;
  void read_cells();
  void read_time();
  void find_sequences(std::span<const std::int64_t> rows);
  void cut(bool last_only);
  void set_steps();

  std::shared_ptr<const Table> table_;
  DataOptions options_;
  std::vector<std::string> features_;
  std::vector<std::size_t> columns_;  // of the features
  std::vector<float> values_;         // [rows of the table, features]
  std::vector<std::int64_t> filled_;  // wide and padded: steps of each row of the table
  std::vector<double> time_;          // per row of the table; empty: file order
  std::vector<Sequence> sequences_;
  std::vector<Item> items_;
  std::int64_t steps_ = 1;  // rows of the longest item
  bool lengths_ = false;    // whether the data set says how long each item is
};

/// Rejects options of sequences that do not go together.
void check_sequence_options(const DataOptions& options);

}  // namespace epitaxy
