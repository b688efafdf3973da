#include "models/save_gguf.h"

#include <cstring>
#include <map>
#include <span>

#include "models/gguf_keys.h"
#include "models/gguf_metadata.h"
#include "models/gguf_source.h"
#include "models/gguf_text.h"
#include "models/names.h"

namespace moxie::models {
namespace fs = std::filesystem;
namespace {

const Named<quant::QuantFormat>& format_named(const std::string& name) {
  const auto& row = require_row(quant::formats(), "format", name);
  if (!row->is_writable) {
    std::vector<std::string> writable;
    for (const auto& candidate : quant::formats()) {
      if (candidate->is_writable) writable.emplace_back(candidate.name);
    }
    fail(ErrorCode::kUnsupported, "export", "'{}' can be read but not written; choose one of {}",
         name, join(writable, ", "));
  }
  return row;
}

// The file type number of llama.cpp (general.file_type) for a file mostly in this format.
uint32_t file_type(std::string_view format) {
  static constexpr std::pair<std::string_view, uint32_t> kTypes[] = {
      {"f32", 0},  {"f16", 1},  {"q4_0", 2},  {"q4_1", 3},  {"q8_0", 7},
      {"q5_0", 8}, {"q5_1", 9}, {"q4_k", 15}, {"q6_k", 18}, {"bf16", 32}};
  for (const auto& [name, number] : kTypes) {
    if (name == format) return number;
  }
  return 0;
}

struct Planned {
  std::string name;
  std::vector<int64_t> dims;
  const Named<quant::QuantFormat>* format;
  nn::Matrix* matrix;  // null for a vector
  const nn::Param* vector;
  bool is_permuted;
};

class Writer {
 public:
  Writer(const Model& model, const std::string& format)
      : model_(model),
        config_(model.decoder->config()),
        wanted_(format.empty() ? nullptr : &format_named(format)) {}

  std::vector<Planned> plan() const {
    std::vector<Planned> list;
    const auto add = [&](const std::string& name, std::vector<int64_t> dims,
                         const Named<quant::QuantFormat>* format, nn::Matrix* matrix,
                         const nn::Param* vector) {
      const std::string tensor = gguf_tensor_name(config_, name);
      list.push_back({tensor.ends_with(".bias") ? tensor : tensor + ".weight", std::move(dims),
                      format, matrix, vector,
                      (*model_.architecture)->gguf_permutes_qk && is_rotary(name)});
    };
    for (nn::Matrix* matrix : model_.decoder->matrices()) {
      add(matrix->name(), {matrix->rows(), matrix->cols()}, &format_of(*matrix), matrix, nullptr);
    }
    for (const nn::Param* vector : model_.decoder->vectors()) {
      add(vector->name, {vector->value.count()}, &format_named("f32"), nullptr, vector);
    }
    return list;
  }

  std::vector<std::byte> bytes_of(const Planned& planned) const {
    if (planned.vector != nullptr) return vector_bytes(planned);
    const auto& format = *planned.format;
    const auto row_bytes = static_cast<size_t>(quant::row_bytes(*format.entry, planned.dims[1]));
    std::vector<std::byte> bytes(row_bytes * static_cast<size_t>(planned.dims[0]));
    const bool keeps =
        planned.matrix->is_frozen() && planned.matrix->frozen().format().name == format.name;
    const Tensor values = keeps ? Tensor() : planned.matrix->decode();
    for (int64_t row = 0; row < planned.dims[0]; ++row) {
      const int64_t to = planned.is_permuted ? permuted_row(row, config_.head_dim) : row;
      std::byte* target = bytes.data() + static_cast<size_t>(to) * row_bytes;
      if (keeps) {
        std::memcpy(target,
                    planned.matrix->frozen().bytes().data() + static_cast<size_t>(row) * row_bytes,
                    row_bytes);
      } else {
        format->encode(values.data<float>() + row * planned.dims[1], target, planned.dims[1]);
      }
    }
    return bytes;
  }

 private:
  const Named<quant::QuantFormat>& format_of(const nn::Matrix& matrix) const {
    const auto& own = matrix.is_frozen() && matrix.frozen().format()->is_writable
                          ? matrix.frozen().format()
                          : format_named("f32");
    if (wanted_ == nullptr) return matrix.is_frozen() ? matrix.frozen().format() : own;
    const auto divides = [&](const Named<quant::QuantFormat>& format) {
      return matrix.cols() % format->block == 0;
    };
    // As llama.cpp's quantize: few bits cost the output projection most, so it gets more; rows that
    // do not divide into blocks take the next format that they fit.
    const bool is_output =
        matrix.name() == "head" || (matrix.name() == "embed" && config_.ties_embeddings);
    const bool is_small = (*wanted_)->bytes * 8 < 6 * (*wanted_)->block;
    const auto& wanted = is_output && is_small ? format_named("q6_k") : *wanted_;
    if (divides(wanted)) return wanted;
    return divides(format_named("q8_0")) ? format_named("q8_0") : format_named("f16");
  }

  std::vector<std::byte> vector_bytes(const Planned& planned) const {
    Tensor values = planned.vector->value.to(DType::kF32);
    if (config_.norm_shift != 0 && planned.vector->name.ends_with("norm")) {
      values = values.clone();  // Gemma's norms are stored less one, but not here
      for (float& x : values.span<float>()) x += static_cast<float>(config_.norm_shift);
    }
    std::vector<std::byte> bytes(values.bytes());
    for (int64_t i = 0; i < values.count(); ++i) {
      const int64_t to = planned.is_permuted ? permuted_row(i, config_.head_dim) : i;
      std::memcpy(bytes.data() + static_cast<size_t>(to) * sizeof(float), values.data<float>() + i,
                  sizeof(float));
    }
    return bytes;
  }

  const Model& model_;
  const nn::DecoderConfig& config_;
  const Named<quant::QuantFormat>* wanted_;
};

using Extra = std::vector<std::pair<std::string, std::vector<float>>>;

// Declares and writes the weights, then what stands beside them.
void write_tensors(io::GgufWriter& file, const Writer& writer, const std::vector<Planned>& plan,
                   const std::vector<const io::StoredTensor*>& kept, const Extra& extra) {
  for (const Planned& planned : plan) file.add_tensor(planned.name, planned.dims, *planned.format);
  for (const auto* tensor : kept) file.add_tensor(tensor->name, tensor->dims, *tensor->format);
  for (const auto& [name, values] : extra)
    file.add_tensor(name, {static_cast<int64_t>(values.size())}, format_named("f32"));
  for (const Planned& planned : plan) file.write_tensor(writer.bytes_of(planned));
  for (const auto* tensor : kept) file.write_tensor(tensor->bytes);
  for (const auto& [name, values] : extra) file.write_tensor(std::as_bytes(std::span(values)));
}

// The metadata of the file it came from, and the tensors that are not among the decoder's.
void save_again(const Model& model, io::GgufWriter& file, const Writer& writer,
                const std::string& format) {
  for (size_t i = 0; i < model.gguf->metadata().size(); ++i) {
    const auto& [name, value] = model.gguf->metadata()[i];
    if (name == key::kAlignment || (name == key::kFileType && !format.empty())) continue;
    file.copy(name, model.gguf->type_of(i), value);
  }
  if (!format.empty()) file.set_u32(key::kFileType, file_type(format));
  std::vector<const io::StoredTensor*> kept;  // rope_freqs and the like
  for (const auto& tensor : model.gguf->tensors()) {
    if (tensor.name.starts_with("rope_") && tensor.format != nullptr) kept.push_back(&tensor);
  }
  write_tensors(file, writer, writer.plan(), kept, {});
  file.finish();
}

// The format of most of the weights.
const Named<quant::QuantFormat>& main_format(const std::vector<Planned>& plan) {
  std::map<std::string_view, int64_t> counts;
  const Planned* most = &plan.front();
  for (const Planned& planned : plan) {
    counts[planned.format->name] += Shape(planned.dims).count();
    if (counts[planned.format->name] > counts[most->format->name]) most = &planned;
  }
  return *most->format;
}

void save_new(const Model& model, io::GgufWriter& file, const Writer& writer) {
  const nn::DecoderConfig& config = model.decoder->config();
  const std::string where = model.path.string();
  const auto plan = writer.plan();
  const auto& format = main_format(plan);
  file.set_string(key::kArchitecture, (*model.architecture)->gguf_name);
  file.set_string(key::kType, "model");
  file.set_string(key::kName, fs::weakly_canonical(model.path).filename().string());
  file.set_u32(key::kFileType, file_type(format.name));
  if (format->block > 1) file.set_u32(key::kQuantizationVersion, 2);
  GgufMetadata metadata(file, *model.architecture->entry, where);
  metadata.config(config);
  const GgufText text(model.text, config.vocab, where);
  text.write(file);
  write_tensors(file, writer, plan, {}, metadata.tensors());
  file.finish([&](const fs::path& written) {
    const auto read = io::GgufFile::open(written);
    check_gguf_config(*read, config, where);
    text.check(*read);
  });
}

}  // namespace

void save_gguf(const Model& model, const fs::path& path, const std::string& format) {
  const Writer writer(model, format);
  io::GgufWriter file(path);
  if (model.gguf) {
    save_again(model, file, writer, format);
  } else {
    save_new(model, file, writer);
  }
}

}  // namespace moxie::models
