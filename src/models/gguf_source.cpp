#include "models/gguf_source.h"

#include <cstring>

#include "models/names.h"
#include "models/source_checks.h"

namespace moxie::models {
namespace {

class GgufSource : public nn::WeightSource {
 public:
  GgufSource(const nn::DecoderConfig& config, bool permutes_qk,
             std::shared_ptr<const io::GgufFile> file)
      : config_(config), permutes_qk_(permutes_qk), file_(std::move(file)) {}

  bool has(const std::string& name) const override {
    return file_->find_tensor(tensor_name(name)) != nullptr;
  }

  quant::Weight matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const auto& tensor =
        require_tensor(file_->find_tensor(tensor_name(name)), tensor_name(name), file_->where());
    check_dims(tensor, {rows, cols}, file_->where());
    if (!permutes_qk_ || !is_rotary(name)) return tensor.as_weight();
    const auto row_bytes = static_cast<size_t>(quant::row_bytes(*tensor.format->entry, cols));
    auto copy = std::make_shared<std::vector<std::byte>>(tensor.bytes.size());
    for (int64_t row = 0; row < rows; ++row) {
      const auto from = static_cast<size_t>(permuted_row(row, config_.head_dim)) * row_bytes;
      std::memcpy(copy->data() + static_cast<size_t>(row) * row_bytes, tensor.bytes.data() + from,
                  row_bytes);
    }
    const std::byte* bytes = copy->data();
    return {*tensor.format, rows, cols, bytes, std::move(copy)};
  }

  Tensor vector(const std::string& name, int64_t count) const override {
    const auto& tensor =
        require_tensor(file_->find_tensor(tensor_name(name)), tensor_name(name), file_->where());
    check_dims(tensor, {count}, file_->where());
    Tensor stored = tensor.as_f32();
    if (!permutes_qk_ || !is_rotary(name)) return stored;
    Tensor ordered = Tensor::empty(stored.shape(), DType::kF32);
    for (int64_t row = 0; row < count; ++row) {
      ordered.data<float>()[row] = stored.data<float>()[permuted_row(row, config_.head_dim)];
    }
    return ordered;
  }

 private:
  std::string tensor_name(const std::string& name) const {
    const std::string tensor = gguf_tensor_name(config_, name);
    return tensor.ends_with(".bias") ? tensor : tensor + ".weight";
  }
  const nn::DecoderConfig& config_;
  bool permutes_qk_;
  std::shared_ptr<const io::GgufFile> file_;
};

}  // namespace

int64_t permuted_row(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim;
  const int64_t inner = row % head_dim;
  const int64_t half = head_dim / 2;
  return head * head_dim + (inner < half ? 2 * inner : 2 * (inner - half) + 1);
}

bool is_rotary(const std::string& name) {
  return name.ends_with("attn.q") || name.ends_with("attn.k") || name.ends_with("attn.q.bias") ||
         name.ends_with("attn.k.bias");
}

std::unique_ptr<nn::WeightSource> make_gguf_source(const nn::DecoderConfig& config,
                                                   bool permutes_qk,
                                                   std::shared_ptr<const io::GgufFile> file) {
  return std::make_unique<GgufSource>(config, permutes_qk, std::move(file));
}

}  // namespace moxie::models
