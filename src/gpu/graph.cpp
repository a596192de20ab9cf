#include "gpu/graph.h"

#include <cuda_runtime.h>

#include "gpu/check.h"

namespace epitaxy {

namespace {
cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }
}  // namespace

void CapturedGraph::begin(Stream stream) { EPITAXY_CHECK(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal)); }

void CapturedGraph::end(Stream stream) {
  cudaGraph_t graph = nullptr;
  EPITAXY_CHECK(cudaStreamEndCapture(native(stream), &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  EPITAXY_CHECK(status);
  executable_ = executable;
}

void CapturedGraph::abandon(Stream stream) noexcept {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(native(stream), &graph) == cudaSuccess && graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

CapturedGraph::~CapturedGraph() {
  if (executable_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
}

void CapturedGraph::launch(Stream stream) const {
  EPITAXY_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), native(stream)));
}

PinnedBuffer::PinnedBuffer(std::size_t bytes) : bytes_(bytes) {
  void* memory = nullptr;
  EPITAXY_CHECK(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault));
  data_ = static_cast<std::byte*>(memory);
}

PinnedBuffer::~PinnedBuffer() { cudaFreeHost(data_); }

Event::Event() {
  cudaEvent_t event = nullptr;
  EPITAXY_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  event_ = event;
}

Event::~Event() { cudaEventDestroy(static_cast<cudaEvent_t>(event_)); }
void Event::record(Stream stream) { EPITAXY_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(event_), native(stream))); }
void Event::hold_back(Stream stream) const { EPITAXY_CHECK(cudaStreamWaitEvent(native(stream), static_cast<cudaEvent_t>(event_), 0)); }
void Event::synchronize() const { EPITAXY_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event_))); }

SideStream::SideStream(Stream like) : stream_(like) {
  cudaStream_t stream = nullptr;
  EPITAXY_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  stream_.handle = stream;
}

SideStream::~SideStream() { cudaStreamDestroy(native(stream_)); }

}  // namespace epitaxy
