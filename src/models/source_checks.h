#pragma once
// Checks that both kinds of checkpoint share: a tensor is there, in a format that decodes, in its
// shape.
#include <string>
#include <vector>

#include "base/error.h"
#include "io/stored_tensor.h"

namespace moxie::models {

inline const io::StoredTensor& require_tensor(const io::StoredTensor* tensor,
                                              const std::string& name, const std::string& where) {
  if (tensor == nullptr) {
    fail(ErrorCode::kCorruptData, where,
         "the tensor '{}' is missing; the file is incomplete or of another architecture", name);
  }
  if (tensor->format == nullptr) {
    fail(ErrorCode::kUnsupported, where,
         "the tensor '{}' is {}, which is no format of weights Moxie reads", name,
         tensor->type_name);
  }
  return *tensor;
}

inline void check_dims(const io::StoredTensor& tensor, const std::vector<int64_t>& wanted,
                       const std::string& where) {
  if (tensor.dims == wanted) return;
  fail(ErrorCode::kCorruptData, where,
       "the tensor '{}' has shape {}, but the configuration asks for {}", tensor.name,
       Shape(tensor.dims).to_string(), Shape(wanted).to_string());
}

}  // namespace moxie::models
