// Runs the real `epitaxy` program and collects what it says.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace epitaxy::test {

namespace fs = std::filesystem;

struct Finished {
  int code = -1;  // exit code, or 128 + signal
  std::string out, err;
};

inline std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void put(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// A test with a folder of its own, which is the program's working folder.
class Program : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::string(EPITAXY_PROGRAM).empty()) GTEST_SKIP() << "the epitaxy command is not built";
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / (std::string("epitaxy_") + info->test_suite_name() + "_" + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  fs::path in(const std::string& name) const { return folder_ / name; }

  pid_t start(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all{EPITAXY_PROGRAM};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (auto& one : all) argv.push_back(one.data());
    argv.push_back(nullptr);
    const std::string out = in("stdout").string(), err = in("stderr").string();
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    if (::chdir(folder_.c_str()) != 0) ::_exit(127);
    ::dup2(::open(out.c_str(), flags, 0666), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), flags, 0666), STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

  Finished finish(pid_t child) const {
    int status = 0;
    ::waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(in("stdout")), contents(in("stderr"))};
  }

  Finished run(const std::vector<std::string>& arguments) const { return finish(start(arguments)); }

  /// Demands exit code 0.
  std::string done(const std::vector<std::string>& arguments) const {
    const Finished result = run(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return result.out;
  }

  /// Demands that exit code, and one line on stderr that holds all of `says`.
  void refused(const std::vector<std::string>& arguments, int code, const std::vector<std::string>& says) const {
    const Finished result = run(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_EQ(result.err.rfind("epitaxy: ", 0), 0u) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const auto& one : says) EXPECT_NE(result.err.find(one), std::string::npos) << "'" << one << "' is not in: " << result.err;
  }

  /// Exit code of a command line that the shell reads, after `before`.
  int shell(const std::string& arguments, const std::string& before = "true") const {
    const std::string line = "cd '" + folder_.string() + "' && " + before + " && '" + EPITAXY_PROGRAM + "' " + arguments + " 2> stderr";
    const int status = std::system(line.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  /// Trains for a moment on a few small lattice images, with further arguments.
  std::vector<std::string> small_run(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"train", "--data", "lattice:count=60,size=40", "--epochs", "1", "--threads", "1", "--device", "cpu",
                                 "--out", out};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  fs::path folder_;
};

}  // namespace epitaxy::test
