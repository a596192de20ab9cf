// epitaxy plan
#include <charconv>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/cli.h"
#include "train/memory_size.h"

namespace epitaxy::cli {

namespace {

using Json = nlohmann::ordered_json;

struct PlanCommand {
  TrainConfig config;
  std::string data, input, precision = "fp32", dtype = "uint8", optimizer = "adamw";
  std::vector<std::string> target, features, fusion{"on"};
  std::string memory_limit;
  std::int64_t classes = 0, batch = 32, width = 64;
  bool predict = false, json = false, fusions = false;
};

/// "64x64x1", "64x64" of one channel or, for a model of sequences, of steps and features, or "13".
Shape parse_input(const std::string& text, bool sequence) {
  std::vector<std::int64_t> dims;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, 'x');) {
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    if (error != std::errc() || end != part.data() + part.size() || size < 1 || size > (1 << 20))
      reject("--input '", text, "' is neither HxWxC (64x64x1), TxF (30x14) nor a number of features (13)");
    dims.push_back(size);
  }
  if (dims.size() == 2 && !sequence) dims.push_back(1);  // one channel
  if (dims.size() > 3) reject("--input '", text, "' is neither HxWxC (64x64x1), TxF (30x14) nor a number of features (13)");
  return Shape(std::span<const std::int64_t>(dims));
}

struct Planned {
  Model model{Shape{1}};
  CompileOptions options;
  std::vector<PlanRow> rows;
  MemorySummary memory;
  std::size_t overhead = 0;
  FusionReport fusions;
};

/// Shape, type and outputs, from the data or as given.
Planned describe(const PlanCommand& command) {
  Planned planned;
  Shape input;
  std::int64_t outputs = command.classes;
  bool classification = true, lengths = false;
  if (!command.data.empty()) {
    require(command.input.empty() && command.classes == 0, "--data says what --input and --classes would; leave them out");
    DataOptions options;
    options.data = command.data;
    options.target = command.target;
    options.features = command.features;
    const Dataset train = open_training(options).train;
    input = train.inputs.shape().tail();
    planned.options.input_dtype = train.inputs.dtype();
    classification = train.task == Task::classification;
    lengths = static_cast<bool>(train.lengths);
    outputs = classification ? static_cast<std::int64_t>(train.class_names.size()) : train.targets.dim(1);
  } else {
    require(!command.input.empty() && command.classes >= 1, "give --data PATH, or --input HxWxC and --classes N");
    input = parse_input(command.input, takes_sequences(command.config.model));
    planned.options.input_dtype = input.rank() < 3 ? DType::fp32 : parse_dtype(command.dtype);
    classification = outputs > 1;
  }
  const std::string name = command.config.model.empty() ? (input.rank() == 3   ? "crystalnet"
                                                           : input.rank() == 2 ? "lstm"
                                                                               : "mlp")
                                                        : command.config.model;
  ModelOptions shaping = model_options(command.config);
  shaping.width = command.width;
  planned.model = make_model(name, input, outputs, shaping);
  if (lengths) planned.model = planned.model.with_lengths();
  planned.options.loss = classification ? LossKind::softmax_cross_entropy : LossKind::mean_squared_error;
  planned.options.mean.assign(static_cast<std::size_t>(input[-1]), 0.0f);
  planned.options.scale.assign(static_cast<std::size_t>(input[-1]), 1.0f);
  planned.options.optimizer.kind = parse_optimizer(command.optimizer);
  planned.options.device = choose_device(command.config.device);
  planned.options.precision = parse_precision(command.precision);
  planned.options.training = !command.predict;
  planned.options.fusion = parse_fusions(command.fusion);
  // Without a limit the plan is that of a machine with memory enough.
  planned.options.memory_limit =
      command.memory_limit.empty() ? std::numeric_limits<std::int64_t>::max() : parse_memory_size(command.memory_limit);
  return planned;
}

void print_json(const Planned& planned, const PlanCommand& command) {
  const MemorySummary& memory = planned.memory;
  Json json{{"model", planned.model.name()},
            {"batch", command.batch},
            {"parameters", planned.model.parameter_count()},
            {"layers", Json::array()}};
  for (const auto& row : planned.rows)
    json["layers"].push_back({{"name", row.name},
                              {"kind", row.kind},
                              {"details", row.details},
                              {"output", std::vector<std::int64_t>(row.output.dims().begin(), row.output.dims().end())},
                              {"parameters", row.parameters},
                              {"forward_flops", row.forward_flops},
                              {"training_flops", row.training_flops},
                              {"bytes", row.bytes}});
  json["memory"] = {{"parameters", memory.parameters}, {"gradients", memory.gradients},
                    {"optimizer", memory.optimizer},   {"states", memory.states},
                    {"arena", memory.arena},           {"slots", memory.slots},
                    {"total", memory.total()},         {"fixed_overhead", planned.overhead}};
  if (command.fusions) {
    json["fusions"] = Json::array();
    for (const auto& fused : planned.fusions.fusions) {
      Json merged = Json::array();
      for (const auto& label : fused.merged) merged.push_back({{"node", label.node}, {"operation", label.operation}});
      json["fusions"].push_back(
          {{"fusion", name(fused.fusion)}, {"node", fused.node}, {"merged", merged}, {"bytes_saved", fused.bytes_saved}});
    }
    json["step_bytes"] = {{"fused", planned.fusions.fused_bytes}, {"unfused", planned.fusions.unfused_bytes}};
  }
  if (const RecomputeReport& again = memory.recompute; !again.nodes.empty()) {
    Json nodes = Json::array();
    for (const auto& label : again.nodes) nodes.push_back({{"node", label.node}, {"operation", label.operation}});
    json["recompute"] = {
        {"nodes", nodes}, {"flops", again.flops}, {"bytes", again.bytes}, {"arena_before", again.arena_before}, {"arena", again.arena}};
  }
  std::cout << json_line(json) << std::endl;
}

void print_fusions(const FusionReport& report, bool training) {
  std::vector<std::vector<std::string>> table{{"fusion", "node", "merged", "MB saved"}};
  for (const auto& fused : report.fusions) {
    std::string merged;
    for (const auto& label : fused.merged)
      merged += text(merged.empty() ? "" : ", ", label.node == fused.node ? label.operation : label.node);
    table.push_back({std::string(name(fused.fusion)), fused.node, merged, short_number(fused.bytes_saved / 1e6)});
  }
  print_table(table);
  std::cout << "traffic of a " << (training ? "training step: " : "prediction: ") << short_number(report.unfused_bytes / 1e6)
            << " MB, fused " << short_number(report.fused_bytes / 1e6) << " MB\n";
}

void print_text(const Planned& planned, const PlanCommand& command) {
  double forward = 0, training = 0, bytes = 0;
  std::vector<std::vector<std::string>> table{{"layer", "kind", "options", "output", "parameters", "MFLOP", "MFLOP train", "MB"}};
  for (const auto& row : planned.rows) {
    table.push_back({row.name, row.kind, row.details, text(row.output), std::to_string(row.parameters),
                     short_number(row.forward_flops / 1e6), short_number(row.training_flops / 1e6), short_number(row.bytes / 1e6)});
    forward += row.forward_flops;
    training += row.training_flops;
    bytes += row.bytes;
  }
  table.push_back({"total", "", "", "", std::to_string(planned.model.parameter_count()), short_number(forward / 1e6),
                   short_number(training / 1e6), short_number(bytes / 1e6)});
  std::cout << planned.model.name() << ", batch " << command.batch << ", " << name(planned.options.precision) << " on "
            << name(planned.options.device) << (planned.options.training ? ", training\n" : ", prediction\n");
  print_table(table);
  if (command.fusions) print_fusions(planned.fusions, planned.options.training);
  const MemorySummary& memory = planned.memory;
  if (const RecomputeReport& again = memory.recompute; !again.nodes.empty()) {
    std::cout << "computed again in the backward pass, to keep " << memory_text(static_cast<double>(again.arena_before - again.arena))
              << " less: ";
    for (std::size_t i = 0; i < again.nodes.size(); ++i) std::cout << (i ? ", " : "") << again.nodes[i].node;
    std::cout << " (" << short_number(again.flops / 1e6) << " MFLOP and " << short_number(again.bytes / 1e6) << " MB more a step)\n";
  }
  const auto part = [](const char* label, std::size_t size) { return label + memory_text(static_cast<double>(size)); };
  std::cout << part("memory: ", memory.total()) << " (" << part("parameters ", memory.parameters) << ", "
            << part("gradients ", memory.gradients) << ", " << part("optimizer ", memory.optimizer) << ", "
            << part("states ", memory.states) << ", " << part("activations and workspace ", memory.arena) << ", "
            << part("input slots ", memory.slots) << ")\n"
            << part("and about ", planned.overhead) << " for the program and its libraries; the data come on top" << std::endl;
}

void run(const PlanCommand& command) {
  Planned planned = describe(command);
  planned.rows = plan_rows(planned.model, planned.options, command.batch);
  planned.memory = plan_memory(planned.model, planned.options, command.batch);
  planned.overhead = fixed_overhead(planned.options.device);
  if (command.fusions) planned.fusions = plan_fusions(planned.model, planned.options, command.batch);
  (command.json ? print_json : print_text)(planned, command);
  require_memory(planned.model, planned.options, command.batch);
}

}  // namespace

void add_plan(CLI::App& app) {
  const auto command = std::make_shared<PlanCommand>();
  CLI::App* plan = app.add_subcommand("plan", "Layers, shapes, parameters, FLOPs, bytes and memory of a network, without training it");
  plan->add_option("--model", command->config.model, model_list() + "; default crystalnet for images, lstm for sequences, else mlp")
      ->type_name("NAME");
  plan->add_option("--hidden", command->config.hidden, "mlp, vgg, lstm, gru, rnn: units of the hidden layers")
      ->type_name("UNITS,...")
      ->delimiter(',');
  for (const Setting& setting : settings()) {
    if (setting.key != "pool" && setting.key != "bidirectional" && setting.key != "dropout") continue;
    const auto take = [command, &setting](const std::string& value) { set(command->config, setting, {value}, "--" + setting.key); };
    if (setting.kind == Setting::Kind::toggle)
      plan->add_flag_function(
          "--" + setting.key, [take](std::int64_t) { take("true"); }, setting.help);
    else
      plan->add_option_function<std::string>("--" + setting.key, take, setting.help)->type_name(setting.value);
  }
  plan->add_option("--width", command->width, "unet: channels of the first level; default 64")->type_name("N")->check(CLI::Range(1, 4096));
  plan->add_option("--data", command->data, "takes shapes and classes from data, as for train")->type_name("PATH");
  plan->add_option("--target", command->target, "tables: the target columns")->type_name("COLUMN,...")->delimiter(',');
  plan->add_option("--features", command->features, "tables: the input columns")->type_name("COLUMN,...")->delimiter(',');
  plan->add_option("--input", command->input, "or: shape of one item, HxWxC, TxF of a sequence, or a number of features")
      ->type_name("SHAPE");
  plan->add_option("--classes", command->classes, "with --input: classes, or 1 for one value")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 24));
  plan->add_option("--dtype", command->dtype, "with --input: uint8, uint16 or fp32 images; default uint8")->type_name("NAME");
  plan->add_option("--batch", command->batch, "items per step; default 32")->type_name("N")->check(CLI::Range(1, 1 << 24));
  plan->add_option("--optimizer", command->optimizer, "sgd, adam or adamw; default adamw")->type_name("NAME");
  plan->add_option("--precision", command->precision, "fp32, tf32, bf16 or fp16")->type_name("NAME");
  plan->add_option("--device", command->config.device, "auto, cpu, cuda, ...")->type_name("NAME");
  plan->add_option("--fusion", command->fusion, "on, off, or the rewrites of the graph to make: bn+relu,conv+relu,...; default on")
      ->type_name("NAME,...")
      ->delimiter(',');
  plan->add_flag("--fusions", command->fusions, "lists what is fused where, and the traffic that this saves");
  plan->add_option("--memory-limit", command->memory_limit,
                   "500M, 4G: where more is needed, says what is computed again in the backward pass")
      ->type_name("BYTES");
  plan->add_flag("--predict", command->predict, "plan prediction instead of training");
  plan->add_flag("--json", command->json, "one JSON object");
  plan->footer(
      "Examples:\n"
      "  epitaxy plan --model resnet18 --input 128x128x1 --classes 5 --batch 16\n"
      "  epitaxy plan --model resnet50 --input 224x224x1 --classes 1000 --precision bf16\n"
      "  epitaxy plan --model resnet50 --input 224x224x1 --classes 10 --batch 64 --precision bf16 --fusions --memory-limit 4G\n"
      "  epitaxy plan --model lstm --input 30x14 --classes 1 --hidden 64,64 --pool mean\n"
      "  epitaxy plan --data images/ --batch 64 --precision bf16");
  plan->callback([command] { run(*command); });
}

}  // namespace epitaxy::cli
