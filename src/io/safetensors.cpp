#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "base/files.h"
#include "io/checked_math.h"
#include "io/safetensors_header.h"

namespace moxie::io {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

struct Type {
  std::string_view name;
  uint64_t bits;
  int gguf_type;  // the format of quant/ with the same layout, or -1
};
constexpr Type kTypes[] = {
    {"F64", 64, -1},    {"F32", 32, 0},     {"F16", 16, 1},  {"BF16", 16, 30},   {"I64", 64, -1},
    {"I32", 32, -1},    {"I16", 16, -1},    {"I8", 8, -1},   {"U64", 64, -1},    {"U32", 32, -1},
    {"U16", 16, -1},    {"U8", 8, -1},      {"BOOL", 8, -1}, {"C64", 64, -1},    {"F8_E4M3", 8, -1},
    {"F8_E5M2", 8, -1}, {"F8_E8M0", 8, -1}, {"F4", 4, -1},   {"F6_E2M3", 6, -1}, {"F6_E3M2", 6, -1},
};

const Type& require_type(const SafetensorsEntry& entry, const std::string& where) {
  for (const auto& type : kTypes) {
    if (type.name == entry.dtype) return type;
  }
  fail(ErrorCode::kCorruptData, where, "'{}' has the dtype '{}', which safetensors does not define",
       entry.name, entry.dtype);
}

// Bytes that shape and type ask for (rule S5).
uint64_t required_size(const SafetensorsEntry& entry, const Type& type, const std::string& where) {
  std::optional<uint64_t> bits = type.bits;
  bool is_empty = false;
  for (const uint64_t dim : entry.shape) {
    if (dim > static_cast<uint64_t>(INT64_MAX)) bits.reset();
    is_empty = is_empty || dim == 0;
    if (bits && dim != 0) bits = checked_multiply(*bits, dim);
  }
  if (!bits) {
    fail(ErrorCode::kCorruptData, where, "the shape of '{}' multiplies beyond 63 bits", entry.name);
  }
  if (is_empty) return 0;
  if (*bits % 8 != 0) {
    fail(ErrorCode::kCorruptData, where, "'{}' takes {} bits, which is no number of bytes",
         entry.name, *bits);
  }
  return *bits / 8;
}

// The ranges cover the buffer from its first byte to its last without a hole or an overlap (S4).
void check_ranges(const std::vector<SafetensorsEntry>& entries, uint64_t buffer,
                  const std::string& where) {
  std::vector<const SafetensorsEntry*> order;
  order.reserve(entries.size());
  for (const auto& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t expected = 0;
  for (const auto* entry : order) {
    if (entry->begin != expected || entry->end < entry->begin) {
      fail(ErrorCode::kCorruptData, where,
           "'{}' takes bytes {} to {}, but the tensors before it end at {}", entry->name,
           entry->begin, entry->end, expected);
    }
    expected = entry->end;
  }
  if (expected != buffer) {
    fail(ErrorCode::kCorruptData, where,
         "its tensors take {} bytes, but {} are there: the file is cut short or damaged; fetch it "
         "again",
         expected, buffer);
  }
}

// The file that an index names, inside the folder also after symbolic links (S7). The Hub's own
// cache keeps snapshots/<commit>/<file> as links into the blobs/ beside snapshots/: those count as
// inside.
fs::path contained_path(const fs::path& folder, const std::string& name, const std::string& where) {
  const fs::path relative(name);
  bool is_plain = !name.empty() && !relative.is_absolute() && name.find('\0') == std::string::npos;
  for (const auto& part : relative) is_plain = is_plain && part != "..";
  if (!is_plain) {
    fail(ErrorCode::kCorruptData, where, "weight_map names '{}', which is not inside the folder",
         name);
  }
  std::error_code failed;
  const fs::path target = fs::canonical(folder / relative, failed);
  if (failed) {
    fail(ErrorCode::kNotFound, where, "the shard '{}' is missing: {}; fetch the model again", name,
         failed.message());
  }
  const auto is_inside = [&](const fs::path& root) {
    const auto end = std::mismatch(root.begin(), root.end(), target.begin(), target.end());
    return end.first == root.end();
  };
  const fs::path root = fs::canonical(folder);
  const bool is_cache = root.parent_path().filename() == "snapshots";
  if (is_inside(root) || (is_cache && is_inside(root.parent_path().parent_path() / "blobs"))) {
    return target;
  }
  fail(ErrorCode::kCorruptData, where, "the shard '{}' is a link out of the folder, to '{}'", name,
       target.string());
}

}  // namespace

std::shared_ptr<const Safetensors> Safetensors::parse(std::span<const std::byte> bytes,
                                                      std::shared_ptr<const void> owner,
                                                      std::string where) {
  uint64_t length = 0;
  if (bytes.size() < 8) {
    fail(ErrorCode::kCorruptData, where, "{} bytes are too few for a safetensors file",
         bytes.size());
  }
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeader || length > bytes.size() - 8) {
    fail(ErrorCode::kCorruptData, where,
         "its header claims {} bytes, but the file has {} and {} are allowed: cut short, or not "
         "safetensors",
         length, bytes.size(), kMaxHeader);
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  if (json.empty() || json.front() != '{') {
    fail(ErrorCode::kCorruptData, where, "its header does not begin with '{{'");
  }
  auto header = read_safetensors_header(json, where);
  const auto buffer = bytes.subspan(8 + length);
  check_ranges(header.entries, buffer.size(), where);

  auto file = std::make_shared<Safetensors>();
  file->metadata_ = std::move(header.metadata);
  for (auto& entry : header.entries) {
    const Type& type = require_type(entry, where);
    const uint64_t size = required_size(entry, type, where);
    if (size != entry.end - entry.begin) {
      fail(ErrorCode::kCorruptData, where, "'{}' needs {} bytes but its range has {}", entry.name,
           size, entry.end - entry.begin);
    }
    StoredTensor tensor;
    tensor.dims.assign(entry.shape.begin(), entry.shape.end());
    tensor.type_name = type.name;
    if (type.gguf_type >= 0) tensor.format = quant::find_format(type.gguf_type);
    tensor.bytes = buffer.subspan(entry.begin, size);
    tensor.owner = owner;
    file->index_.emplace(entry.name, file->tensors_.size());
    tensor.name = std::move(entry.name);
    file->tensors_.push_back(std::move(tensor));
  }
  file->where_ = std::move(where);
  return file;
}

std::shared_ptr<const Safetensors> Safetensors::open(const fs::path& path) {
  const auto source = SourceFile::open(path);
  auto file = std::make_shared<Safetensors>(*parse(source->bytes(), source, path.string()));
  for (auto& tensor : file->tensors_) tensor.file = source;
  return file;
}

std::shared_ptr<const Safetensors> Safetensors::open_folder(const fs::path& folder) {
  if (fs::exists(folder / kSingle)) return open(folder / kSingle);
  const fs::path index = folder / kIndex;
  const std::string where = index.string();
  if (!fs::exists(index)) {
    fail(ErrorCode::kNotFound, folder.string(), "it holds neither {} nor {}", kSingle, kIndex);
  }
  const auto weight_map = read_safetensors_index(read_file(index), where);
  std::map<std::string, std::shared_ptr<const Safetensors>> shards;
  for (const auto& [tensor, shard] : weight_map) {
    auto& file = shards[shard];
    if (file == nullptr) file = open(contained_path(folder, shard, where));
    if (file->find(tensor) == nullptr) {
      fail(ErrorCode::kCorruptData, where, "'{}' should be in '{}' but is not", tensor, shard);
    }
  }
  auto joined = std::make_shared<Safetensors>();
  joined->where_ = where;
  for (const auto& [name, file] : shards) {
    for (const auto& tensor : file->tensors_) {
      if (!joined->index_.emplace(tensor.name, joined->tensors_.size()).second) {
        fail(ErrorCode::kCorruptData, where, "the tensor '{}' is in two shards", tensor.name);
      }
      joined->tensors_.push_back(tensor);
    }
    if (joined->metadata_.empty()) joined->metadata_ = file->metadata_;
  }
  return joined;
}

const StoredTensor* Safetensors::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace moxie::io
