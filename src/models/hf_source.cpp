#include "models/hf_source.h"

#include "models/names.h"
#include "models/source_checks.h"

namespace moxie::models {
namespace {

class HfSource : public nn::WeightSource {
 public:
  HfSource(const nn::DecoderConfig& config, std::shared_ptr<const io::Safetensors> file)
      : config_(config), file_(std::move(file)) {}

  bool has(const std::string& name) const override {
    return file_->find(tensor_name(name)) != nullptr;
  }

  quant::Weight matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const auto& tensor =
        require_tensor(file_->find(tensor_name(name)), tensor_name(name), file_->where());
    check_dims(tensor, {rows, cols}, file_->where());
    return tensor.as_weight();
  }

  Tensor vector(const std::string& name, int64_t count) const override {
    const auto& tensor =
        require_tensor(file_->find(tensor_name(name)), tensor_name(name), file_->where());
    check_dims(tensor, {count}, file_->where());
    return tensor.as_f32();
  }

 private:
  std::string tensor_name(const std::string& name) const {
    const std::string module = hf_module_name(config_, name);
    return module.ends_with(".bias") ? module : module + ".weight";
  }
  const nn::DecoderConfig& config_;
  std::shared_ptr<const io::Safetensors> file_;
};

}  // namespace

std::unique_ptr<nn::WeightSource> make_hf_source(const nn::DecoderConfig& config,
                                                 std::shared_ptr<const io::Safetensors> file) {
  return std::make_unique<HfSource>(config, std::move(file));
}

}  // namespace moxie::models
