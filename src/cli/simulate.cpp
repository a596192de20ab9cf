// epitaxy simulate
#include <iostream>

#include "cli/cli.h"
#include "epitaxy/data/lattice.h"

namespace epitaxy::cli {

namespace {

struct SimulateCommand {
  std::string what = "lattice:", out, format = "idx";
  double test_fraction = 0.2;
  std::uint64_t split_seed = 1;
};

void run(const SimulateCommand& command) {
  require(command.what == "lattice" || command.what.starts_with("lattice:"), "unknown simulator '", command.what,
          "': lattice:count=4000,size=64,...");
  require(command.format == "idx" || command.format == "png", "--format is idx or png, got '", command.format, "'");
  const LatticeOptions options = parse_lattice(command.what);
  write_dataset(options, command.out, command.format == "png" ? ImageFormat::png : ImageFormat::idx, command.test_fraction,
                command.split_seed);
  std::cout << "wrote " << options.count << " images of " << options.size << " x " << options.size << " pixels to " << command.out
            << std::endl;
}

}  // namespace

void add_simulate(CLI::App& app) {
  const auto command = std::make_shared<SimulateCommand>();
  CLI::App* simulate = app.add_subcommand("simulate", "Write simulated images of the five 2-D Bravais lattices as a data set");
  simulate->add_option("WHAT", command->what, "lattice:count=4000,size=64,depth=8,seed=1,...; every key may be left out")->type_name("");
  simulate->add_option("--out", command->out, "folder to make")->required()->type_name("DIR");
  simulate->add_option("--format", command->format, "idx (8 bit) or png; default idx")->type_name("NAME");
  simulate->add_option("--test-fraction", command->test_fraction, "share of the test part; default 0.2")
      ->type_name("FRACTION")
      ->check(CLI::Range(0.0, 0.9));
  simulate->add_option("--split-seed", command->split_seed, "of the test part; default 1")->type_name("N");
  simulate->footer(
      "Examples:\n"
      "  epitaxy simulate lattice:count=1000,size=64 --out lattices\n"
      "  epitaxy simulate lattice:count=500,size=96,depth=16 --format png --out lattices16");
  simulate->callback([command] { run(*command); });
}

}  // namespace epitaxy::cli
