// Experiment files, and the defaults that depend on the task.
#include "epitaxy/train/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "train/atomic_file.h"

namespace epitaxy {

namespace {

std::string with_hyphens(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

/// Edit distance (Levenshtein 1966).
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row.back();
}

std::string nearest_key(const std::string& key) {
  const auto& all = settings();
  return std::min_element(all.begin(), all.end(),
                          [&](const Setting& a, const Setting& b) { return distance(key, a.key) < distance(key, b.key); })
      ->key;
}

std::vector<std::string> values_of(const YAML::Node& node, const Setting& setting, const std::string& where) {
  if (node.IsScalar()) {
    const auto& scalar = node.Scalar();
    // A list may be written as on the command line.
    if (setting.kind != Setting::Kind::list) return {scalar};
    std::vector<std::string> parts;
    std::istringstream in(scalar);
    for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
    return parts;
  }
  if (!node.IsSequence() || setting.kind != Setting::Kind::list)
    reject(where, ": expected ", setting.kind == Setting::Kind::list ? "a list" : "one value");
  std::vector<std::string> values;
  for (const auto& one : node) {
    if (!one.IsScalar()) reject(where, ": a list of plain values is expected");
    values.push_back(one.Scalar());
  }
  return values;
}

}  // namespace

std::string_view name(Task task) { return task == Task::classification ? "classification" : "regression"; }

Task parse_task(std::string_view name) {
  if (name == "classification") return Task::classification;
  if (name == "regression") return Task::regression;
  reject("unknown task '", name, "': classification or regression");
}

void parse_config(const std::string& yaml, const std::string& path, TrainConfig& config) {
  YAML::Node root;
  try {
    const auto documents = YAML::LoadAll(yaml);
    if (documents.size() > 1) reject("'", path, "' holds ", documents.size(), " experiments (---); give each a file of its own");
    if (documents.size() == 1) root = documents[0];
  } catch (const YAML::Exception& error) {
    reject("'", path, "' line ", error.mark.line + 1, ": ", error.msg);
  }
  if (root.IsNull()) return;
  if (!root.IsMap()) reject("'", path, "': an experiment file holds lines of the form key: value");
  std::set<std::string> seen;
  for (const auto& item : root) {
    const std::string line = text("'", path, "' line ", item.first.Mark().line + 1);
    if (!item.first.IsScalar()) reject(line, ": a key must be a word");
    const std::string key = with_hyphens(item.first.Scalar());
    const auto setting = std::find_if(settings().begin(), settings().end(), [&](const Setting& one) { return one.key == key; });
    if (setting == settings().end()) reject(line, ": unknown key '", item.first.Scalar(), "'; did you mean '", nearest_key(key), "'?");
    if (!seen.insert(key).second) reject(line, ": key '", key, "' is given twice");
    const std::string where = line + ": " + key;
    set(config, *setting, values_of(item.second, *setting, where), where);
  }
}

void read_config(const std::string& path, TrainConfig& config) { parse_config(read_text(path, std::size_t{1} << 20), path, config); }

std::string to_yaml(const TrainConfig& config) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const auto& setting : settings()) {
    const auto values = setting.get(config);
    if (values.empty() || setting.key == "out") continue;
    out << YAML::Key << setting.key << YAML::Value;
    if (setting.kind == Setting::Kind::list)
      out << YAML::Flow << values;
    else
      out << values[0];
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace epitaxy
