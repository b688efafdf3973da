#pragma once
// GGUF, versions 2 and 3, little endian (the specification in ggml's docs/gguf.md). The reader
// trusts nothing: rules G1 to G11 of docs/hardening.md; it throws kCorruptData within the file's
// own size.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/stored_tensor.h"

namespace moxie::io {

// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

struct GgufArray;
// Integers widen to int64 / uint64, floats to double; arrays hold one kind.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string, GgufArray>;
struct GgufArray {
  GgufType type = GgufType::kU8;  // of the elements, as in the file
  std::variant<std::vector<bool>, std::vector<int64_t>, std::vector<uint64_t>, std::vector<double>,
               std::vector<std::string>>
      items;
  size_t size() const;
};

class GgufFile {
 public:
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);
  // For the fuzzer and tests: the same over bytes in memory.
  static std::shared_ptr<const GgufFile> parse(std::span<const std::byte> bytes,
                                               std::shared_ptr<const void> owner,
                                               std::string where);

  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  GgufType type_of(size_t entry) const {
    return types_[entry];
  }  // of metadata()[entry], in the file
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find_tensor(std::string_view name) const;
  uint32_t version() const { return version_; }
  const std::string& where() const { return where_; }

  // Typed look-ups. get_* returns nothing when the key is absent and throws kCorruptData when it
  // has another type; require_* throws for absence too. Any integer type serves as an integer.
  bool has(std::string_view key) const;
  std::optional<int64_t> get_int(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string> get_string(std::string_view key) const;
  std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;
  std::optional<std::vector<double>> get_floats(
      std::string_view key) const;  // float arrays only (G11)
  std::optional<std::vector<bool>> get_bools(std::string_view key) const;
  const std::vector<std::string>* get_strings(std::string_view key) const;  // null when absent
  int64_t require_int(std::string_view key) const;
  double require_float(std::string_view key) const;
  std::string require_string(std::string_view key) const;

 private:
  friend class GgufParser;
  const GgufValue* find(std::string_view key) const;
  std::string where_;
  uint32_t version_ = 0;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<GgufType> types_;
  std::vector<StoredTensor> tensors_;
  // Ordered maps: a hash with a known seed can be made quadratic by whoever chooses the names.
  std::map<std::string, size_t, std::less<>> metadata_index_, tensor_index_;
};

// Writes a GGUF v3 file: set metadata, declare tensors in order, then give their bytes in that
// order. The file appears under its name only when finish() returns (base/files.h).
class GgufWriter {
 public:
  explicit GgufWriter(std::filesystem::path path);
  ~GgufWriter();
  void set_u32(const std::string& key, uint32_t value);
  void set_f32(const std::string& key, float value);
  void set_bool(const std::string& key, bool value);
  void set_string(const std::string& key, const std::string& value);
  void copy(const std::string& key, GgufType type, const GgufValue& value);  // as read
  void set_strings(const std::string& key, const std::vector<std::string>& values);
  void set_i32s(const std::string& key, const std::vector<int32_t>& values);
  void set_f32s(const std::string& key, const std::vector<float>& values);
  // dims row-major as in StoredTensor.
  void add_tensor(const std::string& name, const std::vector<int64_t>& dims,
                  const Named<quant::QuantFormat>& format);
  void write_tensor(std::span<const std::byte> bytes);  // the next declared one; sizes must agree
  // `check` sees the whole file under its temporary name; if it throws, the file never appears.
  void finish(const std::function<void(const std::filesystem::path&)>& check = {});

 private:
  void write_head();
  void pad();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moxie::io
