#include "epitaxy/data/image.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "file.h"

namespace epitaxy {

Image read_image(const std::string& path) {
  if (file_size_of(path) == 0) fail("'", path, "' is empty; replace the file");
  unsigned char head[8] = {};
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot open '", path, "': ", std::strerror(errno));
  in.read(reinterpret_cast<char*>(head), sizeof(head));
  const auto begins = [&](const char* magic, std::size_t count) { return std::memcmp(head, magic, count) == 0; };
  if (begins("\x89PNG", 4)) return read_png(path);
  if (begins("\xff\xd8\xff", 3)) return read_jpeg(path);
  if (begins("II*\0", 4) || begins("MM\0*", 4) || begins("II+\0", 4) || begins("MM\0+", 4)) return read_tiff(path);
  if (begins("BM", 2)) return read_bmp(path);
  reject("'", path, "' is not a PNG, JPEG, BMP or TIFF image");
}

}  // namespace epitaxy
