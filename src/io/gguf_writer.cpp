#include <algorithm>
#include <set>

#include "base/files.h"
#include "io/checked_math.h"
#include "io/gguf.h"

namespace moxie::io {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;  // the format's default, so that it need not be stated
constexpr size_t kMaxTensorName = 63;

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void append_string(std::string& out, std::string_view text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void append_type(std::string& out, GgufType type) {
  append(out, static_cast<uint32_t>(type));
}

template <class T>
void append_number(std::string& out, GgufType type, T value) {
  switch (type) {
    case GgufType::kU8:
      return append(out, static_cast<uint8_t>(value));
    case GgufType::kI8:
      return append(out, static_cast<int8_t>(value));
    case GgufType::kU16:
      return append(out, static_cast<uint16_t>(value));
    case GgufType::kI16:
      return append(out, static_cast<int16_t>(value));
    case GgufType::kU32:
      return append(out, static_cast<uint32_t>(value));
    case GgufType::kI32:
      return append(out, static_cast<int32_t>(value));
    case GgufType::kF32:
      return append(out, static_cast<float>(value));
    case GgufType::kBool:
      return append(out, static_cast<uint8_t>(value));
    case GgufType::kU64:
      return append(out, static_cast<uint64_t>(value));
    case GgufType::kI64:
      return append(out, static_cast<int64_t>(value));
    case GgufType::kF64:
      return append(out, static_cast<double>(value));
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  fail(ErrorCode::kInvalidArgument, "gguf", "a number cannot be written as value type {}",
       static_cast<uint32_t>(type));
}

void append_item(std::string& out, GgufType type, const std::string& text) {
  if (type != GgufType::kString) {
    fail(ErrorCode::kInvalidArgument, "gguf", "a string cannot be written as value type {}",
         static_cast<uint32_t>(type));
  }
  append_string(out, text);
}
template <class T>
void append_item(std::string& out, GgufType type, const T& value) {
  append_number(out, type, value);
}

void append_array(std::string& out, const GgufArray& array) {
  append_type(out, array.type);
  append(out, static_cast<uint64_t>(array.size()));
  std::visit(
      [&](const auto& items) {
        using Item = typename std::decay_t<decltype(items)>::value_type;
        for (const auto& item : items) append_item(out, array.type, static_cast<const Item&>(item));
      },
      array.items);
}

}  // namespace

struct GgufWriter::State {
  struct Declared {
    std::string name;
    std::vector<int64_t> dims;
    int type;
    uint64_t size, offset;
  };
  explicit State(std::filesystem::path path) : where(path.string()), file(std::move(path)) {}
  std::string where;
  AtomicFile file;
  std::string metadata;
  std::set<std::string> keys, names;
  std::vector<Declared> tensors;
  uint64_t end = 0;         // of the last declared tensor, padded
  uint64_t data_begin = 0;  // in the file; 0 until the head is written
  size_t written = 0;
};

GgufWriter::GgufWriter(std::filesystem::path path) : state_(new State(std::move(path))) {}
GgufWriter::~GgufWriter() = default;

void GgufWriter::copy(const std::string& key, GgufType type, const GgufValue& value) {
  const bool is_ascii =
      std::all_of(key.begin(), key.end(), [](unsigned char c) { return c >= 0x20 && c <= 0x7E; });
  if (state_->data_begin != 0 || key.empty() || !is_ascii || !state_->keys.insert(key).second) {
    fail(ErrorCode::kInvalidArgument, state_->where,
         "the metadata entry '{}' cannot be set: keys are unique ASCII, set before any tensor is "
         "written",
         key);
  }
  std::string& out = state_->metadata;
  append_string(out, key);
  append_type(out, type);
  if (const auto* array = std::get_if<GgufArray>(&value)) {
    if (type != GgufType::kArray) {
      fail(ErrorCode::kInvalidArgument, state_->where, "'{}' is an array, not a scalar", key);
    }
    append_array(out, *array);
    return;
  }
  std::visit(
      [&](const auto& item) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(item)>, GgufArray>) {
          append_item(out, type, item);
        }
      },
      value);
}

void GgufWriter::set_u32(const std::string& key, uint32_t value) {
  copy(key, GgufType::kU32, uint64_t{value});
}
void GgufWriter::set_f32(const std::string& key, float value) {
  copy(key, GgufType::kF32, double{value});
}
void GgufWriter::set_bool(const std::string& key, bool value) {
  copy(key, GgufType::kBool, value);
}
void GgufWriter::set_string(const std::string& key, const std::string& value) {
  copy(key, GgufType::kString, value);
}
void GgufWriter::set_strings(const std::string& key, const std::vector<std::string>& values) {
  copy(key, GgufType::kArray, GgufArray{GgufType::kString, values});
}
void GgufWriter::set_i32s(const std::string& key, const std::vector<int32_t>& values) {
  copy(key, GgufType::kArray,
       GgufArray{GgufType::kI32, std::vector<int64_t>(values.begin(), values.end())});
}
void GgufWriter::set_f32s(const std::string& key, const std::vector<float>& values) {
  copy(key, GgufType::kArray,
       GgufArray{GgufType::kF32, std::vector<double>(values.begin(), values.end())});
}

void GgufWriter::add_tensor(const std::string& name, const std::vector<int64_t>& dims,
                            const Named<quant::QuantFormat>& format) {
  if (name.empty() || name.size() > kMaxTensorName || state_->data_begin != 0 ||
      !state_->names.insert(name).second) {
    fail(ErrorCode::kInvalidArgument, state_->where,
         "the tensor '{}' cannot be declared: names are unique, have 1 to {} bytes and come before "
         "any data",
         name, kMaxTensorName);
  }
  if (dims.empty() || dims.size() > 4 || dims.back() % format->block != 0 ||
      std::any_of(dims.begin(), dims.end(), [](int64_t dim) { return dim < 1; })) {
    fail(ErrorCode::kInvalidArgument, state_->where,
         "'{}' has the shape {}; GGUF holds 1 to 4 positive dimensions and {} needs rows of a "
         "multiple of {}",
         name, dims_to_string(dims), format.name, format->block);
  }
  const auto size = static_cast<uint64_t>(Shape(dims).count() / format->block) *
                    static_cast<uint64_t>(format->bytes);
  state_->tensors.push_back({name, dims, format->gguf_type, size, state_->end});
  state_->end = *checked_pad(state_->end + size, kAlignment);
}

void GgufWriter::write_tensor(std::span<const std::byte> bytes) {
  if (state_->data_begin == 0) write_head();
  if (state_->written == state_->tensors.size()) {
    fail(ErrorCode::kInvalidArgument, state_->where, "all {} declared tensors are written",
         state_->written);
  }
  const auto& tensor = state_->tensors[state_->written];
  if (bytes.size() != tensor.size) {
    fail(ErrorCode::kInvalidArgument, state_->where, "'{}' takes {} bytes, not {}", tensor.name,
         tensor.size, bytes.size());
  }
  state_->file.write(bytes.data(), bytes.size());
  pad();
  ++state_->written;
}

void GgufWriter::finish(const std::function<void(const std::filesystem::path&)>& check) {
  if (state_->data_begin == 0) write_head();
  if (state_->written != state_->tensors.size()) {
    fail(ErrorCode::kInvalidArgument, state_->where, "{} of {} declared tensors were written",
         state_->written, state_->tensors.size());
  }
  if (check) check(state_->file.temporary());
  state_->file.commit();
}

void GgufWriter::write_head() {
  std::string head;
  append(head, kMagic);
  append(head, kVersion);
  append(head, static_cast<uint64_t>(state_->tensors.size()));
  append(head, static_cast<uint64_t>(state_->keys.size()));
  head += state_->metadata;
  for (const auto& tensor : state_->tensors) {
    append_string(head, tensor.name);
    append(head, static_cast<uint32_t>(tensor.dims.size()));
    for (size_t i = tensor.dims.size(); i > 0; --i) append(head, tensor.dims[i - 1]);
    append(head, static_cast<uint32_t>(tensor.type));
    append(head, tensor.offset);
  }
  state_->file.write(head);
  pad();
  state_->data_begin = state_->file.position();
}

void GgufWriter::pad() {
  static constexpr char kZeros[kAlignment] = {};
  const uint64_t at = state_->file.position();
  state_->file.write(kZeros, *checked_pad(at, kAlignment) - at);
}

}  // namespace moxie::io
