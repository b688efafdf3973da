#include "infer/settling.h"

#include <algorithm>

#include "base/large_pages.h"
#include "base/memory.h"

namespace moxie::infer {
namespace {

constexpr uint64_t kSteps = 32;  // in which all has settled

}  // namespace

Settling::Settling(const models::Model& model) {
  if (!has_large_pages()) return;
  const auto& tensors = model.gguf ? model.gguf->tensors() : model.safetensors->tensors();
  uint64_t bytes = 0;
  for (const io::StoredTensor& tensor : tensors) {
    if (tensor.file == nullptr) continue;
    if (std::find(files_.begin(), files_.end(), tensor.file) != files_.end()) continue;
    files_.push_back(tensor.file);
    bytes += tensor.file->bytes().size();
  }
  if (bytes > available_memory() / 2) files_.clear();
}

void Settling::step() {
  std::erase_if(files_, [](const auto& file) { return !file->settle(kSteps); });
}

}  // namespace moxie::infer
