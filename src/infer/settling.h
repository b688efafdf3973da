#pragma once
// Decoding reads every weight once a token, and does so faster from large pages (base/
// large_pages.h) than from a mapped file. Moving there costs about as much as a few dozen tokens
// gain, so each decoding step moves a part: a short answer pays for little of it.
#include <cstdint>
#include <memory>
#include <vector>

#include "models/load.h"

namespace moxie::infer {

class Settling {
 public:
  explicit Settling(const models::Model& model) : model_(model) {}
  // Does nothing where the system has no such pages, or where the files are more than half of the
  // memory that is available: what has settled can no longer be dropped and read again.
  void step();

 private:
  void find_files();
  const models::Model& model_;
  bool has_begun_ = false;
  std::vector<std::shared_ptr<const io::SourceFile>> files_;  // with something left to move
};

}  // namespace moxie::infer
