// Whole files in and out, and host memory that is checked before it is asked for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/tensor.h"

namespace epitaxy {

/// Rejects a path that is not a readable regular file. Returns its size in bytes.
std::uint64_t file_size_of(const std::string& path);

/// All bytes of a file.
std::vector<std::uint8_t> read_bytes(const std::string& path);

/// Writes under a temporary name beside `path`, then renames, without waiting for the disk (AtomicFile does): for files by the thousand.
void write_bytes(const std::string& path, std::span<const std::uint8_t> bytes);

/// How many bytes from the start are valid UTF-8: all of them, or the place of the first that is not.
std::size_t utf8_length(std::string_view text);

/// Host memory for `what` (named in messages). An Error where it exceeds the memory that is free.
Tensor allocate_host(const TensorSpec& spec, std::string_view what);

/// Fails where decoding would give more than `ratio` times the bytes of the file: a damaged or hostile header. 0 counts as damaged.
void check_claim(const std::string& path, std::uint64_t width, std::uint64_t height, std::uint64_t bytes_per_pixel,
                 std::uint64_t file_bytes, std::uint64_t ratio);

/// [H, W, channels] of the first `channels` of [H, W, all].
Tensor keep_channels(const Tensor& pixels, std::int64_t channels);

/// [H, W, 1] of uint8 [H, W, 3] where red, green and blue agree in every pixel; else the pixels as they are.
Tensor gray_where_equal(const Tensor& pixels);

/// Drops the last channel of [H, W, 2 or 4], alpha, where it is opaque throughout; fails where it is not.
Tensor drop_alpha(const Tensor& pixels, const std::string& path);

}  // namespace epitaxy
