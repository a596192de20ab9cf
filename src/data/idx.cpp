// IDX files: big-endian sizes and values; see http://yann.lecun.com/exdb/mnist (the format of MNIST).
#include "epitaxy/data/idx.h"

#include <algorithm>
#include <cstring>

#include "file.h"
#include "gzip.h"

namespace epitaxy {

namespace {

std::uint32_t big_endian32(const std::uint8_t* p) {
  return (std::uint32_t{p[0]} << 24) | (std::uint32_t{p[1]} << 16) | (std::uint32_t{p[2]} << 8) | p[3];
}

DType dtype_of_idx(std::uint8_t type, const std::string& path) {
  switch (type) {
    case 0x08: return DType::uint8;
    case 0x0B: return DType::uint16;
    case 0x0C: return DType::int32;
    case 0x0D: return DType::fp32;
    default: reject("'", path, "' holds IDX values of type ", int{type}, "; supported: 8 (uint8), 11 (int16), 12 (int32), 13 (fp32)");
  }
}

void swap_bytes(const Tensor& values) {
  auto* p = static_cast<std::uint8_t*>(values.data());
  const std::size_t width = size_of(values.dtype());
  if (width == 1) return;
  for (std::size_t i = 0; i < values.bytes(); i += width) std::reverse(p + i, p + i + width);
}

}  // namespace

Tensor read_idx(const std::string& path) {
  GzipReader reader(path);
  std::uint8_t head[4];
  if (reader.read(head, 4) != 4) fail("'", path, "' is truncated: no IDX header; replace the file");
  if (head[0] != 0 || head[1] != 0) reject("'", path, "' is not an IDX file");
  const DType dtype = dtype_of_idx(head[2], path);
  const int rank = head[3];
  if (rank < 1 || rank > 4) reject("'", path, "' has ", rank, " dimensions; IDX data here have 1 to 4");
  std::uint8_t sizes[16];
  if (reader.read(sizes, 4u * static_cast<unsigned>(rank)) != 4u * static_cast<unsigned>(rank))
    fail("'", path, "' is truncated: no IDX header; replace the file");
  std::uint64_t bytes = size_of(dtype);
  std::int64_t dims[4] = {};
  for (int i = 0; i < rank; ++i) {
    dims[i] = big_endian32(sizes + 4 * i);
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dims[i]), &bytes) || bytes > (std::uint64_t{1} << 62))
      fail("'", path, "' is damaged: its header gives impossible sizes; replace the file");
  }
  const TensorSpec spec{dtype, Shape(std::span<const std::int64_t>(dims, static_cast<std::size_t>(rank)))};
  const std::uint64_t header = 4 + 4 * static_cast<std::uint64_t>(rank);
  if (!reader.compressed() && header + bytes != reader.file_bytes())
    fail("'", path, "' is ", header + bytes > reader.file_bytes() ? "truncated" : "damaged", ": ", reader.file_bytes(),
         " bytes, but its header (", spec, ") asks for ", header + bytes, "; replace the file");
  constexpr std::uint64_t kDeflateLimit = 1040;  // deflate expands at most 1032 times
  if (reader.compressed() && bytes / kDeflateLimit > reader.file_bytes())
    fail("'", path, "' is truncated: ", reader.file_bytes(), " compressed bytes cannot hold ", spec, "; replace the file");
  Tensor values = allocate_host(spec, path);
  const std::uint64_t got = reader.read(values.data(), bytes);
  if (got != bytes)
    fail("'", path, "' is truncated: ", got, " bytes of values, but its header (", spec, ") asks for ", bytes, "; replace the file");
  reader.finish();
  swap_bytes(values);
  if (dtype == DType::uint16)
    for (const std::uint16_t value : values.span<std::uint16_t>())
      if (value > 0x7fff) reject("'", path, "' holds negative 16-bit values; images are read as unsigned: add an offset first");
  return values;
}

void write_idx(const std::string& path, const Tensor& values) {
  const int rank = values.shape().rank();
  require(rank >= 1 && rank <= 4, "write_idx: 1 to 4 dimensions, got ", values.spec());
  std::uint8_t type = 0;
  switch (values.dtype()) {
    case DType::uint8: type = 0x08; break;
    case DType::int32: type = 0x0C; break;
    case DType::fp32: type = 0x0D; break;
    default: reject("write_idx: an IDX file holds uint8, int32 or fp32, got ", values.spec(), "; write PNG instead");
  }
  std::vector<std::uint8_t> bytes{0, 0, type, static_cast<std::uint8_t>(rank)};
  for (int i = 0; i < rank; ++i) {
    require(values.dim(i) <= 0xffffffffLL, "write_idx: dimension ", i, " of ", values.spec(), " exceeds 32 bits");
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(values.dim(i) >> shift));
  }
  const auto* from = static_cast<const std::uint8_t*>(values.data());
  const std::size_t first = bytes.size(), width = size_of(values.dtype());
  bytes.insert(bytes.end(), from, from + values.bytes());
  if (width > 1)
    for (std::size_t i = first; i < bytes.size(); i += width) std::reverse(bytes.data() + i, bytes.data() + i + width);
  write_bytes(path, bytes);
}

}  // namespace epitaxy
