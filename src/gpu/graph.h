// Whole steps as CUDA graphs, and what feeds them: pinned host memory, events, a second stream.
#pragma once

#include <cstddef>
#include <memory>

#include "epitaxy/device.h"

namespace epitaxy {

/// Work captured from a stream, replayed with one launch. While capturing nothing may synchronise or allocate.
class CapturedGraph {
 public:
  /// Captures what `work` queues on the stream.
  template <class Work>
  CapturedGraph(Stream stream, Work&& work) {
    begin(stream);
    try {
      work();
    } catch (...) {
      abandon(stream);
      throw;
    }
    end(stream);
  }
  ~CapturedGraph();
  CapturedGraph(const CapturedGraph&) = delete;
  void launch(Stream stream) const;

 private:
  void begin(Stream stream);
  void end(Stream stream);
  void abandon(Stream stream) noexcept;
  void* executable_ = nullptr;  // cudaGraphExec_t
};

/// Page-locked host memory, which copies to a GPU asynchronously.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(std::size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_;
};

/// A point in a stream's work.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  void record(Stream stream);
  /// The stream's later work waits for the recorded point; an event never recorded holds nothing up.
  void hold_back(Stream stream) const;
  /// The host waits.
  void synchronize() const;

 private:
  void* event_ = nullptr;  // cudaEvent_t
};

/// A second stream of the current device, with the profile of `like`.
class SideStream {
 public:
  explicit SideStream(Stream like);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  Stream get() const { return stream_; }

 private:
  Stream stream_;
};

}  // namespace epitaxy
