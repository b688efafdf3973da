// adapter_config.json of a PEFT folder whose tensors are good: whatever the config says, the
// adapter loads or an Error comes out, and nothing stays attached.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "adapt/attachment.h"
#include "base/error.h"

namespace {

namespace fs = std::filesystem;
using namespace moxie;

const fs::path kCurve = fs::path(MOXIE_SOURCE_DIR) / "tests/golden/lora_curve";

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("moxie-fuzz-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
    fs::copy_file(kCurve / "adapter_final/adapter_model.safetensors",
                  path_ / "adapter_model.safetensors", fs::copy_options::overwrite_existing);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  static models::Model model = models::load(kCurve / "base");
  std::ofstream(folder.path() / "adapter_config.json", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    adapt::Attachment::load(model, folder.path());
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  for (const nn::Site* site : model.decoder->sites()) {
    if (!site->taps.empty()) __builtin_trap();
  }
  return 0;
}
