// Number and placement of the OpenMP threads.
#include "cpu/threads.h"

#include <cstdlib>
#include <mutex>
#include <vector>

#include "epitaxy/error.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace epitaxy {

namespace {
void check_count(int threads) {
  require(threads >= 1 && threads <= kMostCpuThreads, "threads must lie in [1, ", kMostCpuThreads, "], got ", threads);
}
}  // namespace

#if defined(_OPENMP)

namespace {

#if defined(__linux__)
std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void pin() {
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"})
    if (std::getenv(name)) return;
  const std::vector<int> cpus = allowed_cpus();
  const int threads = omp_get_max_threads();
  if (threads < 2 || threads != static_cast<int>(cpus.size()) || omp_in_parallel()) return;
#pragma omp parallel num_threads(threads)
  {
    const int me = omp_get_thread_num();
    if (me != 0) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cpus[static_cast<std::size_t>(me)], &set);
      (void)sched_setaffinity(0, sizeof set, &set);  // a refusal costs speed alone
    }
  }
}
#else
void pin() {}
#endif

}  // namespace

void set_cpu_threads(int threads) {
  check_count(threads);
  omp_set_num_threads(threads);
}

int cpu_threads() { return omp_get_max_threads(); }

void pin_cpu_threads() {
  static std::once_flag once;
  std::call_once(once, pin);
}

ThreadScope::ThreadScope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
ThreadScope::~ThreadScope() { omp_set_num_threads(before_); }

#else

void set_cpu_threads(int threads) { check_count(threads); }
int cpu_threads() { return 1; }
void pin_cpu_threads() {}
ThreadScope::ThreadScope(int) : before_(1) {}
ThreadScope::~ThreadScope() = default;

#endif

}  // namespace epitaxy
