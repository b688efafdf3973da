#pragma once
// What every recipe starts with: a model by name or path, computing in the dtype that was asked
// for, with an adapter attached if one was given.
#include <memory>
#include <string>

#include "adapt/attachment.h"
#include "data/encode.h"
#include "models/load.h"

namespace moxie::recipes {

struct Workbench {
  models::Model model;
  std::unique_ptr<adapt::Attachment> adapter;  // null without one; goes before the model
};

// `dtype`: f32, bf16, or auto (bf16 where the CPU multiplies it faster, else f32).
// `adapter`: a PEFT folder, or "".
Workbench open_workbench(const std::string& model, const std::string& adapter,
                         const std::string& dtype);
quant::Compute compute_for(const std::string& dtype);

// An encoder of data rows with the model's own tokenizer and template.
data::Encoder make_encoder(const models::Model& model, const data::EncodeOptions& options);

}  // namespace moxie::recipes
