#pragma once
// What both file formats hand out: a named array in a storage format, still in the file's own
// bytes. The bytes were checked against the shape when the file was opened; their address may be
// unaligned.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/source_file.h"
#include "quant/format.h"
#include "quant/weight.h"
#include "tensor/tensor.h"

namespace moxie::io {

struct StoredTensor {
  std::string name;
  std::vector<int64_t> dims;  // row-major: the last varies fastest (GGUF's order reversed)
  const Named<quant::QuantFormat>* format = nullptr;  // null for types that quant/ does not know
  std::string type_name;  // as the file spells it: "Q4_1", "BF16", "I64"
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;       // keeps the mapping alive
  std::shared_ptr<const SourceFile> file;  // null for bytes that never were in a file

  int64_t count() const;
  quant::Weight as_weight() const;  // rank 2, or rank > 2 flattened to [prod(leading), last]
  Tensor as_f32() const;            // decoded copy, any rank; F64 is rounded
  Tensor as_tensor() const;  // exact copy in its own type; throws kUnsupported without a DType
};

}  // namespace moxie::io
