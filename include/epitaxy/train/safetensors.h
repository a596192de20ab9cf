// Weight files in the safetensors format: u64 little-endian header length, JSON header, data. https://huggingface.co/docs/safetensors
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "epitaxy/plan/compiled_model.h"

namespace epitaxy {

/// Writes F32, F16, BF16, U8, U16, I32 and I64 arrays in the given order, with text metadata and a checksum, under a temporary name that
/// is then renamed.
/// Rejects names that occur twice and the name "__metadata__".
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors, std::map<std::string, std::string> metadata = {});

/// The arrays in the order of their data. Sizes, offsets and the file's length are checked against each other before anything is
/// allocated; a file that is truncated, has holes or bytes left over, holds another type or belies its checksum is one clear Error.
std::vector<NamedTensor> read_safetensors(const std::string& path, std::map<std::string, std::string>* metadata = nullptr);

}  // namespace epitaxy
