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

enum class Purpose { kTraining, kInference };

// `dtype`: what products compute in. f32: exactly on the decoded weights. bf16: both factors
// rounded. int16: both rounded to 12 bits in blocks that share a scale (kernels/gemm.h). int8:
// activations rounded to 8 bits where a matrix is stored in a format that multiplies with them
// (quant/int8.h), and as auto where it is not; gradients pass through such a matrix in 8 bits where
// tiles of these are the CPU's fastest (kernels/micro_tiles.h), else exactly, and on AVX2 through
// any matrix in 7 bits (kernels/micro8.h). Training takes such tiles for matrices of any format, as
// weights are rounded in blocks there anyway. auto: int8 for inference (where the CPU multiplies
// bf16, for few rows: many are multiplied in tiles), and for training where there is no AMX; other
// formats take bf16 where the CPU multiplies it, else int16 where that is faster, else f32.
// `adapter`: a PEFT folder, or "". `cache_type`: what keys and values of generated text are kept
// in. auto: f16, which rounds them to 11 bits, if any product of the model rounds too; f32 if all
// are exact.
Workbench open_workbench(const std::string& model, const std::string& adapter,
                         const std::string& dtype, Purpose purpose = Purpose::kInference,
                         const std::string& cache_type = "auto");
void set_compute(nn::Decoder& decoder, const std::string& dtype, Purpose purpose);
void set_cache_type(nn::Decoder& decoder, const std::string& cache_type);  // after set_compute
quant::Compute compute_for(const std::string& dtype);  // of formats without Int8Kernels

// An encoder of data rows with the model's own tokenizer and template.
data::Encoder make_encoder(const models::Model& model, const data::EncodeOptions& options);

}  // namespace moxie::recipes
