#include <algorithm>
#include <numeric>
#include <set>

#include "base/files.h"
#include "base/json.h"
#include "base/text_util.h"
#include "io/safetensors.h"

namespace moxie::io {
namespace {

std::string_view safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF64:
      return "F64";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
    case DType::kU8:
      return "U8";
  }
  return "F32";
}

// Wide elements first: every tensor then starts at a multiple of its element, which readers that
// map the file rely on.
std::vector<size_t> data_order(const std::vector<NamedTensor>& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return size_of(tensors[a].tensor.dtype()) > size_of(tensors[b].tensor.dtype());
  });
  return order;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto order = data_order(tensors);
  std::vector<uint64_t> begin(tensors.size());
  uint64_t at = 0;
  for (const size_t i : order) {
    begin[i] = at;
    at += tensors[i].tensor.bytes();
  }
  std::set<std::string_view> names;
  std::string header = "{\"__metadata__\":" + Json(metadata).dump();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    if (!is_valid_utf8(name) || name.empty() || name == "__metadata__" ||
        !names.insert(name).second) {
      fail(ErrorCode::kInvalidArgument, path.string(),
           "a tensor cannot be called '{}': names are unique and not reserved", name);
    }
    const Json entry = {{"dtype", safetensors_name(tensor.dtype())},
                        {"shape", tensor.shape().dims()},
                        {"data_offsets", {begin[i], begin[i] + tensor.bytes()}}};
    header += fmt::format(",{}:{}", Json(name).dump(), entry.dump());
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');

  AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(&length, sizeof(length));
  file.write(header);
  for (const size_t i : order) file.write(tensors[i].tensor.raw(), tensors[i].tensor.bytes());
  file.commit();
}

}  // namespace moxie::io
