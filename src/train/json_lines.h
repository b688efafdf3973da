#pragma once
// An append-only file of JSON objects, one a line, each with a "step". Opening it keeps the whole
// lines up to a step and cuts the rest, atomically: so a resumed run's file equals an uninterrupted
// one's.
#include <cstdint>
#include <filesystem>

#include "base/json.h"

namespace moxie::train {

class JsonLines {
 public:
  // Keeps lines with step <= keep_until; torn or foreign lines go.
  JsonLines(std::filesystem::path path, int64_t keep_until);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;
  void append(const Json& object);
  void sync();  // a checkpoint that counts these lines must not outlive them

 private:
  [[noreturn]] void stop(const char* doing) const;
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace moxie::train
