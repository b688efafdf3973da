#include "app/cli/text_of_model.h"

#include "base/error.h"

namespace moxie::cli {

models::TextParts load_text(const std::filesystem::path& path) {
  models::TextParts parts = std::filesystem::is_directory(path)
                                ? models::load_text_parts(path)
                                : models::load_text_parts(*io::GgufFile::open(path));
  if (parts.tokenizer == nullptr) {
    fail(ErrorCode::kUnsupported, "tokenizer",
         "'{}' has no tokenizer; give the folder or file of a whole model", path.string());
  }
  return parts;
}

}  // namespace moxie::cli
