// NumPy arrays: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; ZIP: PKWARE's APPNOTE.TXT.
#include "epitaxy/data/npy.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "epitaxy/data/csv.h"
#include "file.h"
#include "gzip.h"

namespace epitaxy {

namespace {

static_assert(std::endian::native == std::endian::little, "arrays are read as they lie in the file");

using Bytes = std::span<const std::uint8_t>;

template <class T>
T little(Bytes bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// What stands behind 'key': in the header's dictionary, up to `end`; "" where it is missing.
std::string_view entry(std::string_view header, const std::string& key, char end) {
  const std::size_t at = header.find("'" + key + "':");
  if (at == std::string_view::npos) return {};
  header.remove_prefix(at + key.size() + 3);
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header.substr(0, header.find(end, 1));
}

Shape shape_of(std::string_view tuple, const std::string& what) {
  std::vector<std::int64_t> dims;
  if (!tuple.starts_with('(')) fail(what, " is damaged: its header has no shape; replace the file");
  tuple.remove_prefix(1);
  while (!tuple.empty()) {
    const std::size_t comma = std::min(tuple.find(','), tuple.size());
    const std::string_view part = tuple.substr(0, comma);
    tuple.remove_prefix(std::min(comma + 1, tuple.size()));
    if (part.find_first_not_of(' ') == std::string_view::npos) continue;  // (3,)
    const auto size = parse_number(part);
    if (!size || *size < 0 || *size > 1e15 || *size != std::floor(*size))
      fail(what, " is damaged: its header has no shape; replace the file");
    dims.push_back(static_cast<std::int64_t>(*size));
  }
  if (dims.size() > Shape::kMaxRank) reject(what, " has ", dims.size(), " dimensions; arrays here have up to ", Shape::kMaxRank);
  return Shape(dims);
}

float number(Half value) { return to_float(value); }
int number(std::int8_t value) { return value; }
template <class T>
T number(T value) {
  return value;
}

/// Values of type From as To; integers must fit.
template <class From, class To>
void convert(Bytes from, const Tensor& to, const std::string& what) {
  To* out = to.as<To>();
  for (std::int64_t i = 0; i < to.count(); ++i) {
    const auto value = number(little<From>(from, static_cast<std::size_t>(i) * sizeof(From)));
    if constexpr (std::is_integral_v<To>)
      if (!std::in_range<To>(value)) reject(what, " holds ", value, " (value ", i, "), which exceeds 32 bits; save it as int32 or float32");
    out[i] = static_cast<To>(value);
  }
}

struct Kind {
  std::string_view descr;
  std::size_t bytes;
  DType dtype;
  void (*convert)(Bytes, const Tensor&, const std::string&);
};

const Kind& kind_of(std::string_view descr, const std::string& what) {
  static const Kind kinds[]{
      {"|b1", 1, DType::int32, convert<std::uint8_t, std::int32_t>},
      {"|i1", 1, DType::int32, convert<std::int8_t, std::int32_t>},
      {"|u1", 1, DType::int32, convert<std::uint8_t, std::int32_t>},
      {"<i2", 2, DType::int32, convert<std::int16_t, std::int32_t>},
      {"<u2", 2, DType::int32, convert<std::uint16_t, std::int32_t>},
      {"<i4", 4, DType::int32, convert<std::int32_t, std::int32_t>},
      {"<u4", 4, DType::int32, convert<std::uint32_t, std::int32_t>},
      {"<i8", 8, DType::int32, convert<std::int64_t, std::int32_t>},
      {"<u8", 8, DType::int32, convert<std::uint64_t, std::int32_t>},
      {"<f2", 2, DType::fp32, convert<Half, float>},
      {"<f4", 4, DType::fp32, convert<float, float>},
      {"<f8", 8, DType::fp32, convert<double, float>},
  };
  for (const Kind& kind : kinds)
    if (kind.descr == descr) return kind;
  reject(what, " holds values of type ", descr, "; save it as float32 or int32, for example numpy.save(f, a.astype('<f4'))");
}

Tensor parse_npy(Bytes bytes, const std::string& what) {
  constexpr std::string_view kMagic("\x93NUMPY", 6);
  if (!as_text(bytes).starts_with(kMagic)) reject(what, " is not a NumPy array");
  const std::size_t start = bytes.size() > 6 && bytes[6] == 1 ? 10 : 12;
  const auto truncated = [&](std::uint64_t needed) {
    fail(what, " is truncated: ", bytes.size(), " of ", needed, " bytes; replace the file");
  };
  if (bytes.size() < start) truncated(start);
  if (bytes[6] < 1 || bytes[6] > 3) reject(what, " has format ", int{bytes[6]}, " of NumPy; save it with a current numpy.save");
  const std::uint64_t length = start == 10 ? little<std::uint16_t>(bytes, 8) : little<std::uint32_t>(bytes, 8);
  if (bytes.size() < start + length) truncated(start + length);
  const std::string_view header = as_text(bytes.subspan(start, length));
  std::string_view descr = entry(header, "descr", ',');
  if (descr.size() >= 2 && descr.front() == '\'' && descr.back() == '\'') descr = descr.substr(1, descr.size() - 2);
  if (descr.empty()) fail(what, " is damaged: its header has no type; replace the file");
  const Kind& kind = kind_of(descr, what);
  if (entry(header, "fortran_order", ',') != "False") reject(what, " is in Fortran order; save it with numpy.ascontiguousarray");
  const Shape shape = shape_of(entry(header, "shape", ')'), what);
  std::uint64_t values = kind.bytes;
  for (const std::int64_t dim : shape.dims())
    if (__builtin_mul_overflow(values, static_cast<std::uint64_t>(dim), &values) || values > (std::uint64_t{1} << 62))
      fail(what, " is damaged: its header gives the shape ", shape, "; replace the file");
  const std::uint64_t needed = start + length + values;
  if (bytes.size() < needed) truncated(needed);
  if (bytes.size() > needed) fail(what, " is damaged: ", bytes.size(), " bytes, but its header asks for ", needed, "; replace the file");
  Tensor array = allocate_host({kind.dtype, shape}, what);
  kind.convert(bytes.subspan(start + length), array, what);
  return array;
}

/// The members of a ZIP archive, from its central directory.
class Archive {
 public:
  struct Member {
    std::string name;
    std::uint16_t method = 0;
    std::uint32_t crc = 0, packed = 0, size = 0, at = 0;
  };

  explicit Archive(const std::string& path) : path_(path), bytes_(read_bytes(path)) {
    constexpr std::size_t kEnd = 22, kLongestComment = 65535;
    const std::size_t last = bytes_.size() < kEnd ? 0 : bytes_.size() - kEnd;
    std::size_t end = last;
    while (end > 0 && last - end < kLongestComment && signature(end) != 0x06054b50) --end;
    if (bytes_.size() < kEnd || signature(end) != 0x06054b50) {
      if (!as_text(bytes_).starts_with("PK")) reject("'", path_, "' is not an .npz file");
      fail("'", path_, "' is truncated: its list of arrays is missing; replace the file");
    }
    const std::size_t count = little<std::uint16_t>(bytes_, end + 10);
    std::uint64_t at = little<std::uint32_t>(bytes_, end + 16);
    for (std::size_t i = 0; i < count; ++i) {
      if (at + 46 > end || signature(at) != 0x02014b50) damaged();
      Member one;
      one.method = little<std::uint16_t>(bytes_, at + 10);
      one.crc = little<std::uint32_t>(bytes_, at + 16);
      one.packed = little<std::uint32_t>(bytes_, at + 20);
      one.size = little<std::uint32_t>(bytes_, at + 24);
      one.at = little<std::uint32_t>(bytes_, at + 42);
      const std::size_t name = little<std::uint16_t>(bytes_, at + 28);
      if (at + 46 + name > end) damaged();
      one.name = as_text(Bytes(bytes_).subspan(at + 46, name));
      if (one.size == 0xffffffff || one.packed == 0xffffffff || one.at == 0xffffffff)
        reject("'", path_, "' array '", one.name, "' has 4 GiB or more; save it as .npy");
      members.push_back(one);
      at += 46 + name + little<std::uint16_t>(bytes_, at + 30) + little<std::uint16_t>(bytes_, at + 32);
    }
  }

  Tensor array(const Member& member, const std::string& what) const {
    constexpr std::uint64_t kLocal = 30;
    if (member.at + kLocal > bytes_.size() || signature(member.at) != 0x04034b50) damaged();
    const std::uint64_t from =
        member.at + kLocal + little<std::uint16_t>(bytes_, member.at + 26) + little<std::uint16_t>(bytes_, member.at + 28);
    if (from + member.packed > bytes_.size()) damaged();
    const Bytes packed = Bytes(bytes_).subspan(from, member.packed);
    if (member.method == 0 && member.packed == member.size) {
      check_crc(packed, member.crc, what);
      return parse_npy(packed, what);
    }
    if (member.method != 8) reject(what, " is packed with method ", member.method, "; save it with numpy.savez");
    return parse_npy(inflate_raw(packed, member.size, member.crc, what), what);
  }

  std::vector<Member> members;

 private:
  std::uint32_t signature(std::uint64_t at) const { return little<std::uint32_t>(bytes_, at); }
  [[noreturn]] void damaged() const { fail("'", path_, "' is damaged: its list of arrays is broken; replace the file"); }

  std::string path_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace

Tensor read_npy(const std::string& path) { return parse_npy(read_bytes(path), text("'", path, "'")); }

std::map<std::string, Tensor> read_npz(const std::string& path) {
  const Archive archive(path);
  std::map<std::string, Tensor> arrays;
  for (const auto& member : archive.members) {
    if (!member.name.ends_with(".npy")) continue;
    const std::string name = member.name.substr(0, member.name.size() - 4);
    arrays[name] = archive.array(member, text("'", path, "' array '", name, "'"));
  }
  return arrays;
}

}  // namespace epitaxy
