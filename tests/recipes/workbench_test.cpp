#include "recipes/workbench.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/micro_tiles.h"

namespace moxie::recipes {
namespace {

const char* kModel = MOXIE_SOURCE_DIR "/tests/golden/tiny_models/llama";

DType cache_of(const std::string& dtype, const std::string& cache_type) {
  const Workbench bench = open_workbench(kModel, "", dtype, Purpose::kInference, cache_type);
  return bench.model.decoder->new_state().dtype();
}

// A decoder that nobody asked otherwise caches exactly.
TEST(Workbench, TheCacheIsExactWhereTheProductsAre) {
  EXPECT_EQ(models::load(kModel).decoder->new_state().dtype(), DType::kF32);
  EXPECT_EQ(cache_of("f32", "auto"), DType::kF32);
  EXPECT_EQ(cache_of("int16", "auto"), DType::kF16);
  EXPECT_EQ(cache_of("bf16", "auto"), DType::kF16);
  EXPECT_EQ(cache_of("int16", "f32"), DType::kF32);
  EXPECT_EQ(cache_of("f32", "f16"), DType::kF16);
}

// Weights of F32 in a folder: rounded to 8 bits by tiles for training where that is asked, else
// not.
TEST(Workbench, OnlyInt8RoundsWeightsOfOtherFormats) {
  const auto compute_of = [](const std::string& dtype, Purpose purpose) {
    const Workbench bench = open_workbench(kModel, "", dtype, purpose);
    return bench.model.decoder->matrices().front()->frozen().compute();
  };
  const bool has_tiles = kernels::int8_tiles_are_fastest();
  EXPECT_EQ(compute_of("int8", Purpose::kTraining),
            has_tiles ? quant::Compute::kTiles8 : compute_for("int8"));
  EXPECT_EQ(compute_of("auto", Purpose::kTraining), compute_for("auto"));
  EXPECT_EQ(compute_of("int8", Purpose::kInference), compute_for("int8"));
}

}  // namespace
}  // namespace moxie::recipes
