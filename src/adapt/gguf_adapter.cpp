#include "adapt/gguf_adapter.h"

#include <cstring>

#include "models/gguf_source.h"
#include "models/names.h"

namespace moxie::adapt {
namespace {

constexpr float kAlpha = 16;  // any number serves: B carries what differs

const Named<quant::QuantFormat>& f32_format() {
  return *find_row(quant::formats(), "f32");
}

void write(io::GgufWriter& writer, const Tensor& tensor) {
  writer.write_tensor({static_cast<const std::byte*>(tensor.raw()), tensor.bytes()});
}

// B with the scale folded in and, for rotary projections of the Llama family, rows in GGUF's order.
Tensor folded_b(const nn::LowRank& update, bool is_permuted, int64_t head_dim) {
  const int64_t rank = update.b.cols();
  const auto factor =
      static_cast<float>(update.scaling * static_cast<double>(rank) / static_cast<double>(kAlpha));
  Tensor b = Tensor::empty(update.b.shape(), DType::kF32);
  for (int64_t row = 0; row < b.rows(); ++row) {
    const int64_t to = is_permuted ? models::permuted_row(row, head_dim) : row;
    for (int64_t r = 0; r < rank; ++r)
      b.data<float>()[to * rank + r] = update.b.data<float>()[row * rank + r] * factor;
  }
  return b;
}

}  // namespace

void save_gguf_adapter(const Attachment& attachment, const models::Model& model,
                       const std::filesystem::path& path) {
  const nn::DecoderConfig& config = model.decoder->config();
  const auto& architecture = *model.architecture->entry;
  io::GgufWriter writer(path);
  writer.set_string("general.architecture", architecture.gguf_name);
  writer.set_string("general.type", "adapter");
  writer.set_string("adapter.type", "lora");
  writer.set_f32("adapter.lora.alpha", kAlpha);
  std::vector<Tensor> values;
  for (const auto& adapter : attachment.adapters()) {
    const auto update = adapter->low_rank();
    if (!update || adapter->site_name() == "embed") {
      fail(ErrorCode::kUnsupported, "export",
           "a GGUF adapter holds low-rank updates of linear layers only, and this one changes '{}' "
           "otherwise; export it as peft, or merge it",
           adapter->site_name());
    }
    if (adapter->site_name() == "head" && config.ties_embeddings) {
      fail(ErrorCode::kUnsupported, "export",
           "the output projection is tied to the embedding, and a GGUF adapter cannot change only "
           "the first; export it as peft, or merge it");
    }
    const std::string name = models::gguf_tensor_name(config, adapter->site_name()) + ".weight";
    const bool is_permuted =
        architecture.gguf_permutes_qk && models::is_rotary(adapter->site_name());
    values.push_back(update->a);
    values.push_back(folded_b(*update, is_permuted, config.head_dim));
    writer.add_tensor(name + ".lora_a", update->a.shape().dims(), f32_format());
    writer.add_tensor(name + ".lora_b", update->b.shape().dims(), f32_format());
  }
  for (const Tensor& value : values) write(writer, value);
  writer.finish();
}

}  // namespace moxie::adapt
