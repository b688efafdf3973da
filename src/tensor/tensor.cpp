#include "tensor/tensor.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "base/large_heap.h"
#include "base/memory.h"

namespace moxie {
namespace {

struct Block {
  void* at;
  size_t size;
};

// A caching allocator: freed blocks are kept by size and handed out again, since a training step
// asks for the same sizes over and over, and fresh pages cost a fault and a clearing each.
class Arena {
 public:
  Block take(size_t bytes) {
    const size_t size = rounded(bytes);
    const std::lock_guard<std::mutex> lock(guard_);
    Block block = kept(size);
    if (block.at == nullptr) block = {fresh(size), size};
    live_ += block.size;
    peak_ = std::max(peak_.load(), live_.load());
    return block;
  }

  void give_back(const Block& block) {
    const std::lock_guard<std::mutex> lock(guard_);
    live_ -= block.size;
    idle_ += block.size;
    free_[block.size].push_back(block.at);
  }

  uint64_t live() const { return live_; }
  uint64_t peak() const { return peak_; }
  void reset_peak() { peak_ = live_.load(); }

 private:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kIdleFloor = size_t{16} << 20;
  static constexpr size_t kLarge = size_t{8} << 10;  // from here on in large pages

  // 32 steps between powers of two: at most 3% is wasted, sizes meet again, and there are never
  // many lists to look through.
  static size_t rounded(size_t bytes) {
    const size_t step = std::max(kAlignment, std::bit_floor(bytes) / 32);
    return std::max(kAlignment, (bytes + step - 1) / step * step);
  }

  // The smallest that is kept and not a quarter larger, if any. A list that runs empty stays: the
  // next block of its size comes back before long.
  Block kept(size_t size) {
    for (auto list = free_.lower_bound(size); list != free_.end(); ++list) {
      if (list->first > size + size / 4) break;
      if (list->second.empty()) continue;
      void* block = list->second.back();
      list->second.pop_back();
      idle_ -= list->first;
      return {block, list->first};
    }
    return {nullptr, 0};
  }

  void* fresh(size_t size) {
    // Idle blocks of other sizes must not pile up: past a quarter of what is live they go back.
    if (idle_ > live_ / 4 + kIdleFloor) release_idle();
    void* block = size < kLarge ? nullptr : large_.take(size);
    if (block == nullptr) block = std::aligned_alloc(kAlignment, size);
    if (block == nullptr)
      fail(ErrorCode::kIo, "memory", "cannot get {} bytes; {} are in use", size, live_.load());
    return block;
  }

  void release_idle() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks)
        large_.owns(block) ? large_.give_back(block, size) : std::free(block);
    }
    large_.release();
    free_.clear();
    idle_ = 0;
  }

  std::mutex guard_;
  LargeHeap large_{2 * machine_memory()};
  std::map<size_t, std::vector<void*>> free_;
  std::atomic<uint64_t> live_{0};
  std::atomic<uint64_t> peak_{0};
  uint64_t idle_ = 0;
};

Arena& arena() {
  static auto* instance = new Arena;  // never destroyed: tensors may outlive static destruction
  return *instance;
}

}  // namespace

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int64_t>(dims.size())) {
  if (dims.size() > kMostRank) {
    fail(ErrorCode::kUnsupported, "tensor", "{} dimensions are more than the {} there may be",
         dims.size(), kMostRank);
  }
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

Shape Shape::with_first(int64_t count) const {
  MOXIE_ASSERT(rank_ > 0);
  Shape shape = *this;
  shape.dims_[0] = count;
  return shape;
}

std::string dims_to_string(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

Tensor::Tensor() = default;
Tensor::~Tensor() = default;
Tensor::Tensor(const Tensor& other) = default;
Tensor::Tensor(Tensor&& other) noexcept = default;
Tensor& Tensor::operator=(const Tensor& other) = default;
Tensor& Tensor::operator=(Tensor&& other) noexcept = default;

Tensor Tensor::empty(Shape shape, DType dtype) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  const Block block = arena().take(tensor.bytes());
  tensor.data_ = block.at;
  tensor.owner_ = std::shared_ptr<const void>(block.at, [size = block.size](const void* at) {
    arena().give_back({const_cast<void*>(at), size});
  });
  return tensor;
}

Tensor Tensor::zeros(Shape shape, DType dtype) {
  Tensor tensor = empty(shape, dtype);
  std::memset(tensor.data_, 0, tensor.bytes());
  return tensor;
}

Tensor Tensor::wrap(void* data, Shape shape, DType dtype, std::shared_ptr<const void> owner) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.data_ = data;
  tensor.owner_ = std::move(owner);
  return tensor;
}

Tensor Tensor::reshape(Shape shape) const {
  MOXIE_ASSERT(shape.count() == count());
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::slice_rows(int64_t begin, int64_t end) const {
  MOXIE_ASSERT(shape_.rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0]);
  const size_t stride = shape_[0] == 0 ? 0 : bytes() / static_cast<size_t>(shape_[0]);
  Tensor view = *this;
  view.shape_ = shape_.with_first(end - begin);
  view.data_ = static_cast<std::byte*>(data_) + stride * static_cast<size_t>(begin);
  view.var = 0;
  return view;
}

Tensor Tensor::clone() const {
  Tensor copy = empty(shape_, dtype_);
  std::memcpy(copy.data_, data_, bytes());
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return clone();
  Tensor out = empty(shape_, dtype);
  const auto read = [this](int64_t i) -> double {
    switch (dtype_) {
      case DType::kF32:
        return static_cast<const float*>(data_)[i];
      case DType::kF64:
        return static_cast<const double*>(data_)[i];
      case DType::kBF16:
        return to_float(static_cast<const BFloat16*>(data_)[i]);
      case DType::kF16:
        return to_float(static_cast<const Float16*>(data_)[i]);
      default:
        fail(ErrorCode::kInternal, "tensor", "{} is not a floating type", name_of(dtype_));
    }
  };
  for (int64_t i = 0, n = count(); i < n; ++i) {
    const double value = read(i);
    switch (dtype) {
      case DType::kF32:
        static_cast<float*>(out.data_)[i] = static_cast<float>(value);
        break;
      case DType::kF64:
        static_cast<double*>(out.data_)[i] = value;
        break;
      case DType::kBF16:
        static_cast<BFloat16*>(out.data_)[i] = to_bfloat16(static_cast<float>(value));
        break;
      case DType::kF16:
        static_cast<Float16*>(out.data_)[i] = to_float16(static_cast<float>(value));
        break;
      default:
        fail(ErrorCode::kInternal, "tensor", "{} is not a floating type", name_of(dtype));
    }
  }
  return out;
}

uint64_t live_tensor_bytes() {
  return arena().live();
}
uint64_t peak_tensor_bytes() {
  return arena().peak();
}
void reset_peak_tensor_bytes() {
  arena().reset_peak();
}

}  // namespace moxie
