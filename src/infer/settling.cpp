#include "infer/settling.h"

#include <algorithm>
#include <utility>

#include "base/memory.h"

namespace moxie::infer {
namespace {

constexpr uint64_t kSteps = 32;  // in which all has settled

}  // namespace

void Settling::find_files() {
  const auto& tensors = model_.gguf ? model_.gguf->tensors() : model_.safetensors->tensors();
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
  if (!std::exchange(has_begun_, true)) find_files();
  std::erase_if(files_, [](const auto& file) { return !file->settle(kSteps); });
}

}  // namespace moxie::infer
