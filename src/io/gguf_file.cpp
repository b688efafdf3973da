#include "io/gguf.h"

namespace moxie::io {
namespace {

[[noreturn]] void wrong_type(const std::string& where, std::string_view key,
                             std::string_view wanted) {
  fail(ErrorCode::kCorruptData, where, "the metadata entry '{}' is not {}", key, wanted);
}

[[noreturn]] void absent(const std::string& where, std::string_view key) {
  fail(ErrorCode::kCorruptData, where, "the metadata entry '{}' is missing", key);
}

int64_t to_int(uint64_t value, const std::string& where, std::string_view key) {
  if (value > static_cast<uint64_t>(INT64_MAX)) wrong_type(where, key, "below 2^63");
  return static_cast<int64_t>(value);
}

}  // namespace

size_t GgufArray::size() const {
  return std::visit([](const auto& list) { return list.size(); }, items);
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second].second;
}

const StoredTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

bool GgufFile::has(std::string_view key) const {
  return find(key) != nullptr;
}

std::optional<int64_t> GgufFile::get_int(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(value)) return *number;
  if (const auto* number = std::get_if<uint64_t>(value)) return to_int(*number, where_, key);
  wrong_type(where_, key, "an integer");
}

std::optional<double> GgufFile::get_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  wrong_type(where_, key, "a floating-point number");
}

std::optional<bool> GgufFile::get_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  wrong_type(where_, key, "a bool");
}

std::optional<std::string> GgufFile::get_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  wrong_type(where_, key, "a string");
}

std::optional<std::vector<int64_t>> GgufFile::get_ints(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* array = std::get_if<GgufArray>(value)) {
    if (const auto* list = std::get_if<std::vector<int64_t>>(&array->items)) return *list;
    if (const auto* list = std::get_if<std::vector<uint64_t>>(&array->items)) {
      std::vector<int64_t> out;
      out.reserve(list->size());
      for (const uint64_t item : *list) out.push_back(to_int(item, where_, key));
      return out;
    }
  }
  wrong_type(where_, key, "an array of integers");
}

std::optional<std::vector<double>> GgufFile::get_floats(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* array = std::get_if<GgufArray>(value)) {
    if (const auto* list = std::get_if<std::vector<double>>(&array->items)) return *list;
  }
  wrong_type(where_, key, "an array of floating-point numbers");
}

std::optional<std::vector<bool>> GgufFile::get_bools(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* array = std::get_if<GgufArray>(value)) {
    if (const auto* list = std::get_if<std::vector<bool>>(&array->items)) return *list;
  }
  wrong_type(where_, key, "an array of bools");
}

const std::vector<std::string>* GgufFile::get_strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* array = std::get_if<GgufArray>(value)) {
    if (const auto* list = std::get_if<std::vector<std::string>>(&array->items)) return list;
  }
  wrong_type(where_, key, "an array of strings");
}

int64_t GgufFile::require_int(std::string_view key) const {
  if (const auto value = get_int(key)) return *value;
  absent(where_, key);
}

double GgufFile::require_float(std::string_view key) const {
  if (const auto value = get_float(key)) return *value;
  absent(where_, key);
}

std::string GgufFile::require_string(std::string_view key) const {
  if (auto value = get_string(key)) return *std::move(value);
  absent(where_, key);
}

}  // namespace moxie::io
