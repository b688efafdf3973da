#include <cstring>

#include "io/checked_math.h"
#include "io/gguf.h"
#include "io/gguf_checks.h"
#include "io/gguf_types.h"

namespace moxie::io {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxString = uint64_t{64} << 20;
constexpr uint64_t kMaxKey = 65535;
constexpr uint64_t kMaxTensorName = 63;
constexpr uint32_t kMaxDims = 4;
constexpr uint32_t kMaxAlignment = 1u << 20;
constexpr uint32_t kMinAlignment = 8;  // the specification asks for a multiple of eight
// Counts far above any real file that keep what is decoded below a constant, whatever the file's
// size.
constexpr uint64_t kMaxEntries = 65536;
constexpr uint64_t kMaxArrayElements = uint64_t{8} << 20;

constexpr uint64_t kSmallestEntry = 8 + 1 + 4 + 1;       // key of one letter, type, a byte
constexpr uint64_t kSmallestTensor = 8 + 1 + 4 + 4 + 8;  // name of one letter, no dimensions

uint64_t size_of_type(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
    case GgufType::kString:
      return 8;  // at least: the length
    case GgufType::kArray:
      return 12;
  }
  return 1;
}

}  // namespace

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, std::string where)
      : bytes_(bytes), owner_(std::move(owner)), file_(std::make_shared<GgufFile>()) {
    file_->where_ = std::move(where);
  }

  std::shared_ptr<GgufFile> run() {
    read_header();
    for (uint64_t i = 0; i < entries_; ++i) read_entry();
    check_gguf_metadata(*file_);
    read_alignment();
    check_count("tensors", tensors_, kSmallestTensor);
    for (uint64_t i = 0; i < tensors_; ++i) read_tensor();
    place_tensors();
    return file_;
  }

 private:
  template <class... Args>
  [[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kCorruptData, file_->where_, "{} (at byte {})",
         fmt::format(format, std::forward<Args>(args)...), at_);
  }

  uint64_t remaining() const { return bytes_.size() - at_; }

  void need(uint64_t size, std::string_view what) const {
    if (size > remaining()) {
      corrupt("{} needs {} bytes but {} are left: the file is cut short or damaged", what, size,
              remaining());
    }
  }

  template <class T>
  T read(std::string_view what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  std::string read_string(std::string_view what, uint64_t limit) {
    const auto length = read<uint64_t>(what);
    if (length > limit)
      corrupt("{} claims {} bytes, more than the {} allowed", what, length, limit);
    need(length, what);
    std::string text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }

  void check_count(std::string_view what, uint64_t count, uint64_t smallest) const {
    if (count > remaining() / smallest) {
      corrupt("it claims {} {}, but {} bytes are left for them", count, what, remaining());
    }
    if (count > kMaxEntries) corrupt("it claims {} {}, more than {}", count, what, kMaxEntries);
  }

  void read_header() {
    if (read<uint32_t>("the magic") != kMagic) {
      at_ = 0;
      corrupt("not a GGUF file: it does not begin with the letters GGUF");
    }
    const auto version = read<uint32_t>("the version");
    if (version != 2 && version != 3) {
      if (__builtin_bswap32(version) == 2 || __builtin_bswap32(version) == 3) {
        corrupt("a big-endian GGUF file; convert it to little endian");
      }
      corrupt("GGUF version {}; versions 2 and 3 can be read: convert the file again", version);
    }
    file_->version_ = version;
    tensors_ = read<uint64_t>("the number of tensors");
    entries_ = read<uint64_t>("the number of metadata entries");
    check_count("tensors", tensors_, kSmallestTensor);
    check_count("metadata entries", entries_, kSmallestEntry);
  }

  GgufType read_type(std::string_view key) {
    const auto number = read<uint32_t>("a value type");
    if (number > static_cast<uint32_t>(GgufType::kF64)) {
      corrupt("'{}' has the value type {}, which does not exist", key, number);
    }
    return static_cast<GgufType>(number);
  }

  void read_entry() {
    std::string key = read_string("a key", kMaxKey);
    if (key.empty()) corrupt("an empty key");
    for (const unsigned char c : key) {
      if (c < 0x20 || c > 0x7E) corrupt("a key with a byte that is not printable ASCII");
    }
    if (!file_->metadata_index_.emplace(key, file_->metadata_.size()).second) {
      corrupt("the key '{}' stands twice", key);
    }
    const GgufType type = read_type(key);
    GgufValue value =
        type == GgufType::kArray ? GgufValue(read_array(key)) : read_scalar(key, type);
    file_->types_.push_back(type);
    file_->metadata_.emplace_back(std::move(key), std::move(value));
  }

  bool read_bool(std::string_view key) {
    const auto byte = read<uint8_t>(key);
    if (byte > 1) corrupt("'{}' is a bool with the value {}", key, byte);
    return byte == 1;
  }

  int64_t read_signed(std::string_view key, GgufType type) {
    if (type == GgufType::kI8) return read<int8_t>(key);
    if (type == GgufType::kI16) return read<int16_t>(key);
    if (type == GgufType::kI32) return read<int32_t>(key);
    return read<int64_t>(key);
  }

  uint64_t read_unsigned(std::string_view key, GgufType type) {
    if (type == GgufType::kU8) return read<uint8_t>(key);
    if (type == GgufType::kU16) return read<uint16_t>(key);
    if (type == GgufType::kU32) return read<uint32_t>(key);
    return read<uint64_t>(key);
  }

  double read_real(std::string_view key, GgufType type) {
    return type == GgufType::kF32 ? read<float>(key) : read<double>(key);
  }

  GgufValue read_scalar(std::string_view key, GgufType type) {
    switch (type) {
      case GgufType::kBool:
        return read_bool(key);
      case GgufType::kString:
        return read_string(key, kMaxString);
      case GgufType::kF32:
      case GgufType::kF64:
        return read_real(key, type);
      case GgufType::kI8:
      case GgufType::kI16:
      case GgufType::kI32:
      case GgufType::kI64:
        return read_signed(key, type);
      default:
        return read_unsigned(key, type);
    }
  }

  template <class T, class F>
  static std::vector<T> collect(uint64_t count, F&& next) {
    std::vector<T> items;
    items.reserve(count);
    for (uint64_t i = 0; i < count; ++i) items.push_back(next());
    return items;
  }

  GgufArray read_array(std::string_view key) {
    GgufArray array;
    array.type = read_type(key);
    if (array.type == GgufType::kArray) corrupt("'{}' is an array of arrays", key);
    const auto count = read<uint64_t>("an array length");
    if (count > remaining() / size_of_type(array.type)) {
      corrupt("'{}' claims {} elements, but {} bytes are left", key, count, remaining());
    }
    elements_ += count;
    if (elements_ > kMaxArrayElements) {
      corrupt("its arrays hold more than {} elements up to '{}'", kMaxArrayElements, key);
    }
    switch (array.type) {
      case GgufType::kBool:
        array.items = collect<bool>(count, [&] { return read_bool(key); });
        break;
      case GgufType::kString:
        array.items = collect<std::string>(count, [&] { return read_string(key, kMaxString); });
        break;
      case GgufType::kF32:
      case GgufType::kF64:
        array.items = collect<double>(count, [&] { return read_real(key, array.type); });
        break;
      case GgufType::kI8:
      case GgufType::kI16:
      case GgufType::kI32:
      case GgufType::kI64:
        array.items = collect<int64_t>(count, [&] { return read_signed(key, array.type); });
        break;
      default:
        array.items = collect<uint64_t>(count, [&] { return read_unsigned(key, array.type); });
    }
    return array;
  }

  void read_alignment() {
    const auto found = file_->metadata_index_.find("general.alignment");
    if (found == file_->metadata_index_.end()) return;
    if (file_->types_[found->second] != GgufType::kU32) {
      corrupt("general.alignment is not an unsigned 32-bit integer");
    }
    const auto value = std::get<uint64_t>(file_->metadata_[found->second].second);
    if (value < kMinAlignment || value > kMaxAlignment || (value & (value - 1)) != 0) {
      corrupt("general.alignment is {}; it must be a power of two from {} to {}", value,
              kMinAlignment, kMaxAlignment);
    }
    alignment_ = value;
  }

  void read_tensor() {
    StoredTensor tensor;
    tensor.name = read_string("a tensor's name", kMaxTensorName);
    if (tensor.name.empty()) corrupt("a tensor without a name");
    if (!file_->tensor_index_.emplace(tensor.name, file_->tensors_.size()).second) {
      corrupt("the tensor '{}' stands twice", tensor.name);
    }
    const auto rank = read<uint32_t>("a tensor's rank");
    if (rank > kMaxDims)
      corrupt("'{}' has {} dimensions, at most {} are allowed", tensor.name, rank, kMaxDims);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      const auto dim = read<uint64_t>("a tensor's dimension");
      const auto product = checked_multiply(elements, dim);
      if (dim == 0) corrupt("'{}' has a dimension of zero", tensor.name);
      if (!product) corrupt("the dimensions of '{}' multiply beyond 63 bits", tensor.name);
      elements = *product;
      tensor.dims.insert(tensor.dims.begin(), static_cast<int64_t>(dim));
    }
    const auto number = read<uint32_t>("a tensor's type");
    const auto type = gguf_tensor_type(number);
    if (!type) corrupt("'{}' has the tensor type {}, which does not exist", tensor.name, number);
    const auto block = static_cast<uint64_t>(type->block);
    const uint64_t row = tensor.dims.empty() ? 1 : static_cast<uint64_t>(tensor.dims.back());
    if (row % block != 0) {
      corrupt("the rows of '{}' have {} elements, not a multiple of the {} of a {} block",
              tensor.name, row, block, type->name);
    }
    const auto size = checked_multiply(elements / block, static_cast<uint64_t>(type->bytes));
    if (!size) corrupt("'{}' takes more than 63 bits of bytes", tensor.name);
    tensor.type_name = type->name;
    tensor.format = type->format;
    tensor.owner = owner_;
    places_.push_back({read<uint64_t>("a tensor's offset"), *size});
    file_->tensors_.push_back(std::move(tensor));
  }

  void place_tensors() {
    if (file_->tensors_.empty()) return;
    const auto begin = checked_pad(at_, alignment_);
    if (!begin || *begin > bytes_.size()) corrupt("the file ends before its tensors begin");
    const uint64_t available = bytes_.size() - *begin;
    uint64_t expected = 0;
    for (size_t i = 0; i < places_.size(); ++i) {
      StoredTensor& tensor = file_->tensors_[i];
      const auto [offset, size] = places_[i];
      if (offset != expected) {
        corrupt("'{}' begins at {}, but the tensors before it end at {}", tensor.name, offset,
                expected);
      }
      const auto end = checked_add(offset, size);
      if (!end || *end > available) {
        corrupt(
            "'{}' takes bytes {} to {}, but only {} bytes of tensors are there: the file is cut "
            "short; fetch it again",
            tensor.name, offset, offset + size, available);
      }
      tensor.bytes = bytes_.subspan(*begin + offset, size);
      const auto next = checked_pad(*end, alignment_);
      if (!next) corrupt("the tensors' sizes add up beyond 63 bits");
      expected = *next;
    }
  }

  struct Place {
    uint64_t offset, size;
  };
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<GgufFile> file_;
  std::vector<Place> places_;
  uint64_t at_ = 0, entries_ = 0, tensors_ = 0, elements_ = 0;
  uint64_t alignment_ = 32;
};

std::shared_ptr<const GgufFile> GgufFile::parse(std::span<const std::byte> bytes,
                                                std::shared_ptr<const void> owner,
                                                std::string where) {
  return GgufParser(bytes, std::move(owner), std::move(where)).run();
}

std::shared_ptr<const GgufFile> GgufFile::open(const std::filesystem::path& path) {
  const auto source = SourceFile::open(path);
  auto file = GgufParser(source->bytes(), source, path.string()).run();
  for (auto& tensor : file->tensors_) tensor.file = source;
  return file;
}

}  // namespace moxie::io
