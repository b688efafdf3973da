#include "io/stored_tensor.h"

#include <cstring>
#include <optional>

#include "base/threads.h"

namespace moxie::io {
namespace {

struct TypeName {
  std::string_view name;
  DType dtype;
};

std::optional<DType> dtype_of(std::string_view type_name) {
  static constexpr TypeName kTypes[] = {
      {"F32", DType::kF32}, {"F64", DType::kF64}, {"BF16", DType::kBF16}, {"F16", DType::kF16},
      {"I32", DType::kI32}, {"I64", DType::kI64}, {"U8", DType::kU8}};
  for (const auto& type : kTypes) {
    if (type.name == type_name) return type.dtype;
  }
  return std::nullopt;
}

// The address of the bytes, or of an aligned copy: files may put a tensor anywhere, and not every
// kernel loads unaligned scalars.
const std::byte* aligned(const StoredTensor& tensor, Tensor& copy) {
  constexpr uintptr_t kAlignment = 8;
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % kAlignment == 0)
    return tensor.bytes.data();
  copy = Tensor::empty({static_cast<int64_t>(tensor.bytes.size())}, DType::kU8);
  std::memcpy(copy.raw(), tensor.bytes.data(), tensor.bytes.size());
  return static_cast<const std::byte*>(copy.raw());
}

void check_source(const StoredTensor& tensor) {
  if (tensor.file != nullptr) tensor.file->require_whole();
}

Shape shape_of(const StoredTensor& tensor) {
  if (tensor.dims.size() > Shape::kMostRank) {
    fail(ErrorCode::kUnsupported, "tensor", "'{}' has {} dimensions; at most {} can be read",
         tensor.name, tensor.dims.size(), Shape::kMostRank);
  }
  return Shape(tensor.dims);
}

[[noreturn]] void refuse(const StoredTensor& tensor, std::string_view wanted) {
  fail(ErrorCode::kUnsupported, "tensor", "'{}' is stored as {}, which cannot be read as {}",
       tensor.name, tensor.type_name, wanted);
}

}  // namespace

int64_t StoredTensor::count() const {
  int64_t product = 1;
  for (const int64_t dim : dims) product *= dim;
  return product;
}

quant::Weight StoredTensor::as_weight() const {
  check_source(*this);
  if (format == nullptr) refuse(*this, "a weight");
  if (dims.size() < 2) {
    fail(ErrorCode::kCorruptData, "tensor", "'{}' has {} dimension(s), a weight matrix needs two",
         name, dims.size());
  }
  const int64_t cols = dims.back();
  const int64_t rows = cols == 0 ? 0 : count() / cols;
  Tensor copy;
  const std::byte* data = aligned(*this, copy);
  if (!copy.defined()) return {*format, rows, cols, data, owner};
  return {*format, rows, cols, data, std::make_shared<Tensor>(copy)};
}

Tensor StoredTensor::as_f32() const {
  check_source(*this);
  const int64_t n = count();
  Tensor out = Tensor::empty(shape_of(*this), DType::kF32);
  if (n == 0) return out;
  Tensor copy;
  if (format == nullptr) {
    if (type_name != "F64") refuse(*this, "floating-point numbers");
    const auto* values = reinterpret_cast<const double*>(aligned(*this, copy));
    for (int64_t i = 0; i < n; ++i) out.data<float>()[i] = static_cast<float>(values[i]);
    return out;
  }
  const std::byte* data = aligned(*this, copy);
  const quant::QuantFormat& layout = *format->entry;
  parallel_for(n / layout.block, 4096, [&](int64_t begin, int64_t end) {
    layout.decode(data + begin * layout.bytes, out.data<float>() + begin * layout.block,
                  (end - begin) * layout.block);
  });
  return out;
}

Tensor StoredTensor::as_tensor() const {
  check_source(*this);
  const auto dtype = dtype_of(type_name);
  if (!dtype) refuse(*this, "plain numbers");
  Tensor out = Tensor::empty(shape_of(*this), *dtype);
  if (!bytes.empty()) std::memcpy(out.raw(), bytes.data(), bytes.size());
  return out;
}

}  // namespace moxie::io
