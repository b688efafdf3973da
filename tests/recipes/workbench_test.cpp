#include "recipes/workbench.h"

#include <gtest/gtest.h>

#include <filesystem>

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

}  // namespace
}  // namespace moxie::recipes
