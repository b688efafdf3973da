#pragma once
// The JSON at the head of a safetensors file and the index of a sharded checkpoint, read event by
// event: no tree is built, so memory and time stay linear in the text. Throws kCorruptData.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace moxie::io {

struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0;  // of the buffer behind the header
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // as listed
  std::map<std::string, std::string> metadata;
};

SafetensorsHeader read_safetensors_header(std::string_view json, const std::string& where);

// weight_map of model.safetensors.index.json: tensor name to file name.
std::map<std::string, std::string> read_safetensors_index(std::string_view json,
                                                          const std::string& where);

}  // namespace moxie::io
