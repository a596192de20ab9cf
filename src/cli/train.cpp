// epitaxy train
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <list>

#include "cli/cli.h"
#include "cli/progress.h"

namespace epitaxy::cli {

namespace {

volatile std::sig_atomic_t interrupted = 0;  // by this signal

/// The first signal ends training after the step at hand and keeps the best epoch; a second one ends the program.
void on_interrupt(int signal) {
  interrupted = signal;
  std::signal(signal, SIG_DFL);
}

/// From the first step on: before it there is nothing to keep, and a signal ends the program at once.
void heed_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const auto before = std::signal(signal, on_interrupt);
    if (signal == SIGHUP && before == SIG_IGN) std::signal(SIGHUP, SIG_IGN);  // under nohup
  }
  std::signal(SIGPIPE, SIG_IGN);  // hours of training do not end because nobody reads the progress any more
}

/// What was given on the command line for one setting.
struct Given {
  const Setting* setting = nullptr;
  CLI::Option* option = nullptr;
  std::vector<std::string> values;
};

struct TrainCommand {
  std::string file, resume;
  std::list<Given> given;
};

void describe_end(const TrainResult& result) {
  const History& history = result.history;
  const EpochRecord& best = history.epochs[static_cast<std::size_t>(history.best_epoch - 1)];
  std::cout << "kept epoch " << history.best_epoch;
  if (best.validation && best.validation->task == Task::classification)
    std::cout << ": validation loss " << short_number(best.validation->loss) << ", accuracy " << short_number(best.validation->accuracy)
              << ", balanced accuracy " << short_number(best.validation->balanced_accuracy);
  else if (best.validation)
    std::cout << ": validation loss " << short_number(best.validation->loss) << ", mae " << short_number(best.validation->mae) << ", rmse "
              << short_number(best.validation->rmse);
  std::cout << "; " << short_number(history.seconds, 3) << " s\nwrote " << result.run << "\nnext: epitaxy evaluate --run "
            << shell_word(result.run) << " --split test" << std::endl;
}

void run(const TrainCommand& command) {
  TrainConfig config;
  const bool resumes = !command.resume.empty();
  if (resumes && !std::filesystem::is_regular_file(command.resume + "/config.yaml"))
    reject("--resume ", command.resume, ": there is no config.yaml; name a directory that `epitaxy train` has written");
  if (resumes || !command.file.empty()) read_config(resumes ? command.resume + "/config.yaml" : command.file, config);
  for (const auto& one : command.given) {
    if (one.option->count() == 0) continue;
    const std::string& key = one.setting->key;
    if (resumes && !may_change(key)) reject("--", key, " cannot change in a run that goes on; start a new one");
    set(config, *one.setting, one.values, "--" + key);
  }
  Progress progress(::isatty(STDOUT_FILENO) == 1);
  TrainObserver observer;
  observer.note = [](const std::string& line) { std::cout << line << std::endl; };
  observer.begin = [&](const auto&... parts) {
    heed_signals();
    progress.begin(parts...);
  };
  observer.step = [&](const StepReport& report) { progress.step(report); };
  observer.epoch = [&](const EpochRecord& record) { progress.epoch(record); };
  observer.should_stop = [] { return interrupted != 0; };
  TrainResult result;
  try {
    result = resumes ? resume(command.resume, config, observer) : train(config, observer);
  } catch (const Error& error) {
    if (interrupted) throw Interrupted(error.what(), interrupted);
    throw;
  }
  describe_end(result);
  std::cout.clear();  // the result lies in files
  if (result.history.stopped == "interrupted")
    throw Interrupted("interrupted; the best epoch so far was kept, and epitaxy train --resume " + shell_word(result.run) + " goes on",
                      interrupted);
}

}  // namespace

void add_train(CLI::App& app) {
  const auto command = std::make_shared<TrainCommand>();
  CLI::App* train = app.add_subcommand("train", "Train a network and write a run directory");
  train->add_option("--config", command->file, "experiment file (YAML): every flag below is a key of it; flags go first")
      ->type_name("FILE");
  train->add_option("--resume", command->resume, "go on with this run, to the bit as if it had never stopped; more --epochs are possible")
      ->type_name("DIR")
      ->excludes("--config");
  for (const auto& setting : settings()) {
    Given& one = command->given.emplace_back();
    one.setting = &setting;
    const std::string flag = "--" + setting.key;
    if (setting.kind == Setting::Kind::toggle) {
      one.values.resize(1);
      one.option = train->add_flag(flag, one.values[0], setting.help)->type_name("[=false]");
    } else {
      one.option = train->add_option(flag, one.values, setting.help)->type_name(setting.value)->allow_extra_args(false);
      if (setting.kind == Setting::Kind::list)
        one.option->delimiter(',');
      else
        one.option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
    one.option->group(setting.group);
  }
  train->footer(
      "Examples:\n"
      "  epitaxy train --data lattice:count=4000,size=64 --model crystalnet --out demo\n"
      "  epitaxy train --data images/ --flip both --rotate --class-weights balanced --epochs 40\n"
      "  epitaxy train --data steel.csv --target \"yield strength\" --features c,mn,si,cr\n"
      "  epitaxy train --config experiment.yaml --seed 2\n"
      "  epitaxy train --resume runs/1\n\n"
      "What is not given is chosen by the task and the number of training items; config.yaml in the run directory holds all of it.");
  train->callback([command] { run(*command); });
}

}  // namespace epitaxy::cli
