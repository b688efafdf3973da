#pragma once
// safetensors (the format of huggingface/safetensors). The reader trusts nothing: rules S1 to S8 of
// docs/hardening.md. A sharded checkpoint (model.safetensors.index.json) reads like one file.
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/stored_tensor.h"

namespace moxie::io {

class Safetensors {
 public:
  static std::shared_ptr<const Safetensors> open(const std::filesystem::path& file);
  // model.safetensors, or the shards that model.safetensors.index.json names, of a folder.
  static std::shared_ptr<const Safetensors> open_folder(const std::filesystem::path& folder);
  static std::shared_ptr<const Safetensors> parse(std::span<const std::byte> bytes,
                                                  std::shared_ptr<const void> owner,
                                                  std::string where);

  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& where() const { return where_; }

 private:
  std::string where_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;  // ordered: no hash to attack
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;  // f32, f64, bf16, f16, i32, i64 or u8
};

// Writes tensors in the given order, atomically; metadata gets {"format": "pt"} unless given.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace moxie::io
