// The CPU's worker threads.
#pragma once

namespace epitaxy {

constexpr int kMostCpuThreads = 1024;
/// How many threads the CPU operations use from now on, at least 1; kernels prepared before keep their choices. Default: the CPUs that
/// this process may use, or OMP_NUM_THREADS.
void set_cpu_threads(int threads);
int cpu_threads();

/// Ties each OpenMP worker to a CPU of its own, once, where the threads cover all CPUs of the process: two workers that the system puts
/// on one CPU spin against each other. The calling thread stays free, for threads that it starts inherit its CPUs. Does nothing where the
/// user has placed the threads (OMP_PROC_BIND, OMP_PLACES, GOMP_CPU_AFFINITY, KMP_AFFINITY).
void pin_cpu_threads();

/// For the life of this object the calling thread runs parallel regions on that many threads: a product of a few microseconds is faster
/// on one.
class ThreadScope {
 public:
  explicit ThreadScope(int threads);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

}  // namespace epitaxy
