// Tables and numbers on the terminal, and what evaluate and predict share.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <iomanip>
#include <iostream>

#include "cli/cli.h"
#include "cpu/threads.h"

namespace epitaxy::cli {

namespace {

bool looks_numeric(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.,+-e%xKMGTiB ") == std::string::npos &&
         text.find_first_of("0123456789") != std::string::npos;
}

/// Columns a terminal uses for UTF-8 text without wide characters.
std::size_t width_of(const std::string& text) {
  std::size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return width;
}

}  // namespace

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  std::vector<bool> right;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    right.resize(widths.size(), true);
    for (std::size_t c = 0; c < row.size(); ++c) {
      widths[c] = std::max(widths[c], width_of(row[c]));
      if (&row != &rows[0] && !row[c].empty() && !looks_numeric(row[c])) right[c] = false;
    }
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - width_of(row[c]), ' ');
      line += (c ? "  " : "") + (right[c] ? gap + row[c] : row[c] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::cout << line << '\n';
  }
}

std::string short_number(double value, int digits) {
  std::ostringstream out;
  const double size = std::fabs(value);
  if (size != 0 && (size >= 1e6 || size < 1e-4)) {
    out << std::scientific << std::setprecision(digits - 1) << value;
  } else {
    const int exponent = size > 0 ? static_cast<int>(std::floor(std::log10(size))) : 0;
    out << std::fixed << std::setprecision(std::max(0, digits - 1 - exponent)) << value;
  }
  return out.str();
}

std::string shortened(const std::string& text, std::size_t characters) {
  std::size_t at = 0;
  for (; at < text.size(); ++at)
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && characters-- == 0) break;
  return text.substr(0, at);
}

std::string shell_word(const std::string& text) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_./:=,+-@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string json_line(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void add_run_options(CLI::App& command, RunOptions& options) {
  command.add_option("--run", options.run, "run directory that epitaxy train has written")->required()->type_name("DIR");
  command.add_option("--device", options.device, "auto, cpu, cuda, cuda:1, ...")->type_name("NAME");
  command.add_option("--precision", options.precision, "fp32, tf32, bf16 or fp16; default: as trained")->type_name("NAME");
  command.add_option("--threads", options.threads, "CPU threads; 0: all")->type_name("N")->check(CLI::Range(0, kMostCpuThreads));
  command.add_option("--batch", options.batch, "items at a time")->type_name("N")->check(CLI::Range(1, 1 << 24));
}

std::unique_ptr<CompiledModel> open_run(const RunOptions& options, Run& run) {
  const Device device = choose_device(options.device);
  set_threads(options.threads);
  run = load_run(options.run);
  return compile(run, device, options.precision.empty() ? run.card.precision : parse_precision(options.precision));
}

DataOptions data_options(const Run& run) {
  DataOptions options = run.config.data;
  options.task = run.card.task;
  if (!run.card.feature_names.empty()) options.features = run.card.feature_names;
  if (const Shape& input = run.card.model.input_shape(); input.rank() == 2) {
    options.steps = input[0];
    options.wide |= input[1] == 1 && options.features.size() > 1;  // a feature for each step
  }
  return options;
}

}  // namespace epitaxy::cli
