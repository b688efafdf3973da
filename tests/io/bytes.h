#pragma once
// Files made byte by byte for the readers to refuse or accept.
#include <gtest/gtest.h>
#include <algorithm>

#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/gguf.h"
#include "io/safetensors.h"

namespace moxie::io {

class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& u32(uint32_t value) { return put(value); }
  Bytes& u64(uint64_t value) { return put(value); }
  Bytes& raw(std::string_view text) {
    text_ += text;
    return *this;
  }
  Bytes& str(std::string_view text) { return u64(text.size()).raw(text); }
  Bytes& pad(size_t alignment) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  Bytes& zeros(size_t count) {
    text_.append(count, '\0');
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// A folder of its own for each test, gone at its end.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "moxie-io-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline void put_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  ASSERT_TRUE(out.good()) << path;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The promise is a second, on a core of one's own: one that is shared with a neighbour's thread
// takes up to twice as long. Instrumented code and code that is not optimised are slower.
#if defined(__SANITIZE_ADDRESS__) || !defined(NDEBUG)
constexpr double kErrorSeconds = 20;
#else
constexpr double kErrorSeconds = 2;
#endif

// Runs `f`, which must throw an Error of this code; the message must hold `part`. The CPU time it
// takes, and of three runs the shortest: the machine may be busy with other work.
template <class F>
void expect_error(ErrorCode code, std::string_view part, F&& f) {
  double shortest = kErrorSeconds;
  for (int run = 0; run < 3 && shortest >= kErrorSeconds; ++run) {
    const std::clock_t begin = std::clock();
    try {
      f();
      ADD_FAILURE() << "no error; expected one about '" << part << "'";
    } catch (const Error& error) {
      EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    }
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    shortest = run == 0 ? seconds : std::min(shortest, seconds);
  }
  EXPECT_LT(shortest, kErrorSeconds);
}

inline std::shared_ptr<const GgufFile> parse_gguf(const std::string& text) {
  auto owned = std::make_shared<std::string>(text);
  return GgufFile::parse(std::as_bytes(std::span(*owned)), owned, "crafted.gguf");
}

inline std::shared_ptr<const Safetensors> parse_safetensors(const std::string& text) {
  auto owned = std::make_shared<std::string>(text);
  return Safetensors::parse(std::as_bytes(std::span(*owned)), owned, "crafted.safetensors");
}

}  // namespace moxie::io
