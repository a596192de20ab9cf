// The `epitaxy` command. Exit codes: 0 done, 1 the work failed, 2 wrong usage, 128 + signal interrupted. Errors are one line on stderr.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <new>

#include "cli/cli.h"

namespace {

/// One line, whatever a library put into its message.
int report(std::string message, int code) {
  for (char& c : message)
    if (c == '\n' || c == '\r') c = ' ';
  std::cout.flush();
  std::cerr << "epitaxy: " << message << std::endl;
  return code;
}

/// OpenMP threads that wait for one another spin for a millisecond by default. Where another program keeps a core busy they spin in the way
/// of the thread they wait for, and a training can be fifteen times slower; some microseconds are as good on a quiet machine.
/// libgomp reads its environment before main, so the program starts itself again; where that fails it goes on as it is.
void wait_briefly(char** arguments) {
  for (const char* name : {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})
    if (std::getenv(name)) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  execv("/proc/self/exe", arguments);
}

}  // namespace

int main(int argc, char** argv) {
  wait_briefly(argv);
  using namespace epitaxy;
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows beyond ulimit -f is an error with a name, not a death
  try {
    CLI::App app{"Epitaxy trains neural networks on crystal images, spectra and property tables.", "epitaxy"};
    app.set_version_flag("--version", "epitaxy " EPITAXY_VERSION);
    app.require_subcommand(1);
    app.footer(
        "Examples:\n"
        "  epitaxy train --data lattice:count=4000,size=64 --out demo\n"
        "  epitaxy evaluate --run demo --split test --json\n"
        "  epitaxy predict --run demo image.png\n"
        "  epitaxy train --help");
    cli::add_train(app);
    cli::add_evaluate(app);
    cli::add_predict(app);
    cli::add_plan(app);
    cli::add_simulate(app);
    cli::add_info(app);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() != 0) return report(std::string(error.what()) + " (see epitaxy --help)", 2);
      app.exit(error);  // prints what --help and --version ask for
    }
    std::cout.flush();
    if (!std::cout) return report("cannot write to the standard output: the disk is full, or nobody reads", 1);
    return 0;
  } catch (const Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const cli::Interrupted& error) {
    return report(error.what(), 128 + error.signal);
  } catch (const std::bad_alloc&) {
    return report("out of memory: take a smaller --batch, a smaller model, or a machine with more memory", 1);
  } catch (const std::filesystem::filesystem_error& error) {
    return report("cannot read '" + error.path1().string() + "': " + error.code().message(), 1);
  } catch (const std::exception& error) {
    return report(error.what(), 1);
  }
}
