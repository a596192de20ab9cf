// The subcommands of `epitaxy`: each adds itself to the program; its callback does the work and throws Error.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "epitaxy/train/train.h"

namespace epitaxy::cli {

void add_train(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_predict(CLI::App& app);
void add_plan(CLI::App& app);
void add_simulate(CLI::App& app);
void add_info(CLI::App& app);

/// A signal stopped the work; what was finished is kept. Exit code 128 + signal.
struct Interrupted : std::runtime_error {
  Interrupted(const std::string& message, int number) : std::runtime_error(message), signal(number) {}
  int signal;
};

/// A table on the terminal: columns aligned, numbers to the right. The first row is the header.
void print_table(const std::vector<std::vector<std::string>>& rows);
/// A number with about `digits` significant digits.
std::string short_number(double value, int digits = 4);
/// At most so many characters of a UTF-8 text.
std::string shortened(const std::string& text, std::size_t characters);
/// As a shell reads it back: quoted where it must be.
std::string shell_word(const std::string& text);
/// JSON in one line; bytes that are not UTF-8 (in a path) become replacement characters.
std::string json_line(const nlohmann::ordered_json& json);
/// RFC 4180: quoted where it holds a comma, a quote or a line break.
std::string csv_cell(const std::string& text);

/// Options that evaluate and predict share.
struct RunOptions {
  std::string run, device = "auto", precision;
  int threads = 0;
  std::int64_t batch = 64;
};
void add_run_options(CLI::App& command, RunOptions& options);
/// The run's network on the chosen device; `run` receives what was read.
std::unique_ptr<CompiledModel> open_run(const RunOptions& options, Run& run);
/// How to open data for a run: as in training, with the columns, task and steps that its network has.
DataOptions data_options(const Run& run);

}  // namespace epitaxy::cli
