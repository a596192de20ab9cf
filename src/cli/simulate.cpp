// epitaxy simulate
#include <filesystem>
#include <iostream>
#include <optional>

#include "cli/cli.h"
#include "data/simulator_keys.h"
#include "epitaxy/data/lattice.h"
#include "epitaxy/data/powder.h"

namespace epitaxy::cli {

namespace {

struct SimulateCommand {
  std::string what = "lattice:", out;
  std::optional<std::string> format;
  std::optional<double> test_fraction;
  std::optional<std::uint64_t> split_seed;
};

void run_lattice(const SimulateCommand& command) {
  const std::string format = command.format.value_or("idx");
  require(format == "idx" || format == "png", "--format is idx or png, got '", format, "'");
  const LatticeOptions options = parse_lattice(command.what);
  write_dataset(options, command.out, format == "png" ? ImageFormat::png : ImageFormat::idx, command.test_fraction.value_or(0.2),
                command.split_seed.value_or(1));
  std::cout << "wrote " << options.count << " images of " << options.size << " x " << options.size << " pixels to " << command.out
            << std::endl;
}

void run_powder(const SimulateCommand& command) {
  require(!command.format && !command.test_fraction && !command.split_seed,
          "powder patterns are written as one CSV table; leave --format, --test-fraction and --split-seed out");
  require(command.out.ends_with(".csv"), "powder patterns are written as one table: name a file.csv, not '", command.out, "'");
  require(!std::filesystem::exists(command.out), "'", command.out, "' exists; name a new file");
  const PowderOptions options = parse_powder(command.what);
  write_powder(options, command.out);
  std::cout << "wrote " << options.count << " patterns of " << options.steps << " steps to " << command.out << std::endl;
}

void run(const SimulateCommand& command) {
  if (names_simulator(command.what, "powder")) return run_powder(command);
  require(names_simulator(command.what, "lattice"), "unknown simulator '", command.what,
          "': lattice:count=4000,size=64,... or powder:count=4000,steps=320,...");
  run_lattice(command);
}

}  // namespace

void add_simulate(CLI::App& app) {
  const auto command = std::make_shared<SimulateCommand>();
  CLI::App* simulate = app.add_subcommand("simulate", "Write simulated lattice images or powder diffraction patterns as a data set");
  simulate
      ->add_option("WHAT", command->what,
                   "lattice:count=4000,size=64,depth=8,seed=1,...: images of the five 2-D Bravais lattices\n"
                   "powder:count=4000,steps=320,range=0-80,seed=1,...: patterns of cubic crystals\n"
                   "every key may be left out")
      ->type_name("");
  simulate->add_option("--out", command->out, "folder to make; of powder patterns the file.csv")->required()->type_name("DIR");
  simulate->add_option("--format", command->format, "images: idx (8 bit) or png; default idx")->type_name("NAME");
  simulate->add_option("--test-fraction", command->test_fraction, "images: share of the test part; default 0.2")
      ->type_name("FRACTION")
      ->check(CLI::Range(0.0, 0.9));
  simulate->add_option("--split-seed", command->split_seed, "images: of the test part; default 1")->type_name("N");
  simulate->footer(
      "Examples:\n"
      "  epitaxy simulate lattice:count=1000,size=64 --out lattices\n"
      "  epitaxy simulate lattice:count=500,size=96,depth=16 --format png --out lattices16\n"
      "  epitaxy simulate powder:count=1000,range=20-90 --out patterns.csv");
  simulate->callback([command] { run(*command); });
}

}  // namespace epitaxy::cli
