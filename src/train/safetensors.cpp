#include "epitaxy/train/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "data/file.h"
#include "train/atomic_file.h"
#include "train/checksum.h"

namespace epitaxy {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

using Json = nlohmann::ordered_json;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // as the reference implementation
constexpr const char* kChecksum = "checksum";          // in the metadata: of the rest of it and of the arrays

struct TypeName {
  DType dtype;
  const char* name;
};
constexpr std::array<TypeName, 7> kTypes{{{DType::fp32, "F32"},
                                          {DType::bf16, "BF16"},
                                          {DType::fp16, "F16"},
                                          {DType::uint8, "U8"},
                                          {DType::uint16, "U16"},
                                          {DType::int32, "I32"},
                                          {DType::int64, "I64"}}};

const char* name_of(DType dtype) {
  return std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.dtype == dtype; })->name;
}

std::optional<DType> type_of(const std::string& name) {
  for (const auto& type : kTypes)
    if (name == type.name) return type.dtype;
  return {};
}

struct Entry {
  std::string name;
  TensorSpec spec;
  std::uint64_t begin = 0, end = 0;
};

/// One header entry, checked on its own.
Entry entry_of(const std::string& name, const Json& json) {
  const std::string dtype = json.at("dtype").get<std::string>();
  const auto known = type_of(dtype);
  if (!known) fail("'", name, "' is of type ", dtype, ", which is not supported (F32, F16, BF16, U8, U16, I32, I64 are)");
  const Json &dims = json.at("shape"), &offsets = json.at("data_offsets");
  if (!dims.is_array() || dims.size() > static_cast<std::size_t>(Shape::kMaxRank)) fail("'", name, "' has shape ", dims.dump());
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
    fail("'", name, "' has offsets ", offsets.dump());
  Entry entry{name, {*known, {}}, offsets[0].get<std::uint64_t>(), offsets[1].get<std::uint64_t>()};
  if (entry.begin > entry.end) fail("'", name, "' has offsets ", offsets.dump());
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = size_of(*known);
  for (const auto& dim : dims) {
    if (!dim.is_number_unsigned()) fail("'", name, "' has shape ", dims.dump());
    const auto size = dim.get<std::uint64_t>();
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
        (size != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / size))
      fail("'", name, "' has shape ", dims.dump(), ", which is too large");
    bytes *= size;
    shape.push_back(static_cast<std::int64_t>(size));
  }
  if (bytes != entry.end - entry.begin)
    fail("'", name, "' of shape ", dims.dump(), " needs ", bytes, " bytes but has ", entry.end - entry.begin);
  entry.spec.shape = Shape(std::span<const std::int64_t>(shape));
  return entry;
}

/// A parser that refuses a name that occurs twice in the top object (a JSON library would silently keep one of them).
Json parse_header(const std::string& header) {
  std::vector<std::set<std::string>> seen;
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) seen.emplace_back();
    if (event == Json::parse_event_t::object_end) seen.pop_back();
    if (event == Json::parse_event_t::key && !seen.back().insert(parsed.get<std::string>()).second)
      fail("'", parsed.get<std::string>(), "' occurs twice");
    if (depth > 4) fail("it is nested too deeply");
    return true;
  };
  return Json::parse(header, callback);
}

std::vector<Entry> entries_of(const std::string& header, std::uint64_t data_bytes, std::map<std::string, std::string>& metadata) {
  const Json json = parse_header(header);
  if (!json.is_object()) fail("it is not an object");
  std::vector<Entry> entries;
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__")
      entries.push_back(entry_of(name, value));
    else
      metadata = value.get<std::map<std::string, std::string>>();
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t at = 0;
  for (const auto& entry : entries) {
    if (entry.begin != at) fail("'", entry.name, "' begins at byte ", entry.begin, " instead of ", at);
    at = entry.end;
  }
  if (at != data_bytes) fail("the arrays take ", at, " bytes but the file has ", data_bytes);
  return entries;
}

std::string checksum_of(std::span<const NamedTensor> tensors, const std::map<std::string, std::string>& metadata) {
  Checksum sum;
  for (const auto& [key, value] : metadata)
    if (key != kChecksum) sum.add(key), sum.add(value);
  for (const auto& [name, tensor] : tensors) sum.add(name), sum.add(tensor);
  return sum.text();
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors, std::map<std::string, std::string> metadata) {
  metadata[kChecksum] = checksum_of(tensors, metadata);
  Json json{{"__metadata__", metadata}};
  std::uint64_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    require(!name.empty() && name != "__metadata__" && !json.contains(name), "safetensors: the name '", name, "' is taken or reserved");
    require(tensor.device().kind == DeviceKind::cpu, "safetensors: '", name, "' does not lie on the cpu");
    const auto dims = tensor.shape().dims();
    json[name] = {{"dtype", name_of(tensor.dtype())},
                  {"shape", std::vector<std::int64_t>(dims.begin(), dims.end())},
                  {"data_offsets", {at, at + tensor.bytes()}}};
    at += tensor.bytes();
  }
  std::string header = json.dump();
  header.append((8 - header.size() % 8) % 8, ' ');  // the data begin at a multiple of 8
  const std::uint64_t length = header.size();
  AtomicFile file(path);
  file.write(&length, sizeof(length));
  file.write(header);
  for (const auto& [name, tensor] : tensors) file.write(tensor.data(), tensor.bytes());
  file.commit();
}

std::vector<NamedTensor> read_safetensors(const std::string& path, std::map<std::string, std::string>* metadata) {
  std::map<std::string, std::string> found;
  const std::uint64_t size = file_size_of(path);
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot open '", path, "'");
  std::uint64_t length = 0;
  in.read(reinterpret_cast<char*>(&length), sizeof(length));
  if (size < sizeof(length) || !in) fail("'", path, "' is no safetensors file: it has only ", size, " bytes");
  if (length > size - sizeof(length) || length > kLongestHeader)
    fail("'", path, "' is damaged or truncated: its header claims ", length, " bytes but the file has ", size);
  std::string header(length, '\0');
  in.read(header.data(), static_cast<std::streamsize>(length));
  std::vector<NamedTensor> tensors;
  try {
    for (const auto& entry : entries_of(header, size - sizeof(length) - length, found)) {
      const Tensor tensor = allocate_host(entry.spec, path);
      in.read(static_cast<char*>(tensor.data()), static_cast<std::streamsize>(tensor.bytes()));
      if (static_cast<std::size_t>(in.gcount()) != tensor.bytes()) fail("it ends within '", entry.name, "'");
      tensors.push_back({entry.name, tensor});
    }
  } catch (const nlohmann::json::exception& error) {
    fail("'", path, "' is damaged or no safetensors file: ", error.what());
  } catch (const Error& error) {
    fail("'", path, "' is damaged: ", error.what());
  }
  if (found.contains(kChecksum) && found[kChecksum] != checksum_of(tensors, found))
    fail("'", path, "' is damaged: its contents do not match their checksum; restore the file");
  if (metadata) *metadata = found;
  return tensors;
}

}  // namespace epitaxy
