#include "io/safetensors_header.h"

#include <set>

#include "base/error.h"
#include "base/json.h"

namespace moxie::io {
namespace {

// Far above any real file; with them what is decoded stays below a constant, whatever the text
// says.
constexpr size_t kMaxRank = 16;
constexpr size_t kMaxTensors = size_t{1} << 18;
constexpr size_t kMaxMetadata = size_t{1} << 16;
constexpr size_t kMaxIndexed = size_t{1} << 20;  // of all shards of a checkpoint

// Refuses every event with the reason that fits the place; a reader overrides what it expects.
class StrictReader : public nlohmann::json_sax<Json> {
 public:
  explicit StrictReader(const std::string& where) : where_(where) {}
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a bool"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { unexpected("a number"); }
  bool number_float(number_float_t, const string_t&) override { unexpected("a fraction"); }
  bool string(string_t&) override { unexpected("a string"); }
  bool binary(binary_t&) override { unexpected("bytes"); }
  bool start_object(size_t) override { unexpected("an object"); }
  bool end_object() override { unexpected("the end of an object"); }
  bool start_array(size_t) override { unexpected("an array"); }
  bool end_array() override { unexpected("the end of an array"); }
  bool key(string_t&) override { unexpected("a key"); }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception& why) override {
    fail(ErrorCode::kCorruptData, where_, "its JSON breaks off at byte {}: {}", at, why.what());
  }

 protected:
  void check_count(size_t count, size_t most, std::string_view what) const {
    if (count < most) return;
    fail(ErrorCode::kCorruptData, where_, "it lists more than {} {}", most, what);
  }
  [[noreturn]] void unexpected(std::string_view what) const {
    fail(ErrorCode::kCorruptData, where_, "its JSON has {} {}, where the format allows none", what,
         place());
  }
  virtual std::string place() const = 0;
  const std::string& where_;
};

// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {...}}
class HeaderReader : public StrictReader {
 public:
  using StrictReader::StrictReader;
  SafetensorsHeader header;

  bool start_object(size_t) override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTop && name_is_set_) {
      state_ = name_ == "__metadata__" ? State::kMetadata : State::kTensor;
      entry_ = {};
      entry_.name = name_;
      fields_ = 0;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTensor) {
      if (fields_ != (kDtype | kShape | kOffsets)) {
        fail(ErrorCode::kCorruptData, where_, "'{}' lacks one of dtype, shape, data_offsets",
             name_);
      }
      header.entries.push_back(std::move(entry_));
    }
    state_ = state_ == State::kTop ? State::kEnd : State::kTop;
    name_is_set_ = false;
    return true;
  }

  bool key(string_t& text) override {
    if (state_ == State::kTop) {
      check_count(names_.size(), kMaxTensors, "tensors");
      if (!names_.insert(text).second) {
        fail(ErrorCode::kCorruptData, where_, "the tensor '{}' stands twice", text);
      }
      name_ = text;
      name_is_set_ = true;
    } else if (state_ == State::kMetadata) {
      check_count(header.metadata.size(), kMaxMetadata, "metadata entries");
      if (header.metadata.contains(text)) {
        fail(ErrorCode::kCorruptData, where_, "the metadata key '{}' stands twice", text);
      }
      key_ = text;
    } else {
      start_field(text);
    }
    return true;
  }

  bool string(string_t& text) override {
    if (state_ == State::kMetadata) {
      header.metadata.emplace(key_, text);
    } else if (state_ == State::kTensor && field_ == kDtype) {
      entry_.dtype = text;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(size_t) override {
    if (state_ != State::kTensor || (field_ != kShape && field_ != kOffsets))
      unexpected("an array");
    state_ = State::kArray;
    offsets_ = 0;
    return true;
  }

  bool end_array() override {
    if (field_ == kOffsets && offsets_ != 2) {
      fail(ErrorCode::kCorruptData, where_, "'{}' has {} data_offsets, not two", name_, offsets_);
    }
    state_ = State::kTensor;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::kArray) unexpected("a number");
    if (field_ == kOffsets) {
      if (offsets_ == 0) entry_.begin = value;
      if (offsets_ == 1) entry_.end = value;
      ++offsets_;
      return true;
    }
    if (entry_.shape.size() == kMaxRank) {
      fail(ErrorCode::kCorruptData, where_, "'{}' has more than {} dimensions", name_, kMaxRank);
    }
    entry_.shape.push_back(value);
    return true;
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kArray, kEnd };
  static constexpr int kDtype = 1, kShape = 2, kOffsets = 4;

  void start_field(const std::string& text) {
    field_ = text == "dtype"          ? kDtype
             : text == "shape"        ? kShape
             : text == "data_offsets" ? kOffsets
                                      : 0;
    if (field_ == 0 || (fields_ & field_) != 0) {
      fail(ErrorCode::kCorruptData, where_, "'{}' has the field '{}' {}", name_, text,
           field_ == 0 ? "that the format does not know" : "twice");
    }
    fields_ |= field_;
  }

  std::string place() const override { return name_.empty() ? "at its top" : "in '" + name_ + "'"; }

  State state_ = State::kStart;
  SafetensorsEntry entry_;
  std::set<std::string> names_;
  std::string name_, key_;
  bool name_is_set_ = false;
  int field_ = 0, fields_ = 0, offsets_ = 0;
};

// {"metadata": {...}, "weight_map": {"name": "file", ...}}: all but weight_map is passed over.
class IndexReader : public StrictReader {
 public:
  using StrictReader::StrictReader;
  std::map<std::string, std::string> weight_map;
  bool found = false;

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a bool"); }
  bool number_integer(number_integer_t) override { return scalar("a number"); }
  bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
  bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
  bool string(string_t& text) override {
    if (!inside_) return true;
    check_count(weight_map.size(), kMaxIndexed, "tensors");
    weight_map.emplace(key_, text);
    return true;
  }
  bool start_object(size_t) override { return open("an object"); }
  bool start_array(size_t) override { return open("an array"); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      is_weight_map_ = text == "weight_map";
      if (is_weight_map_ && found) unexpected("a second weight_map");
      found = found || is_weight_map_;
    }
    if (inside_ && weight_map.contains(text)) {
      fail(ErrorCode::kCorruptData, where_, "the tensor '{}' stands twice in weight_map", text);
    }
    key_ = text;
    return true;
  }

 private:
  bool scalar(std::string_view what) {
    if (inside_) unexpected(what);
    return true;
  }
  bool open(std::string_view what) {
    if (inside_ || depth_ >= kMaxJsonDepth) unexpected(what);
    inside_ = depth_ == 1 && is_weight_map_;
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    inside_ = false;
    return true;
  }
  std::string place() const override { return inside_ ? "in weight_map" : "at its top"; }

  std::string key_;
  int depth_ = 0;
  bool is_weight_map_ = false, inside_ = false;
};

}  // namespace

SafetensorsHeader read_safetensors_header(std::string_view json, const std::string& where) {
  HeaderReader reader(where);
  Json::sax_parse(json.begin(), json.end(), &reader);
  return std::move(reader.header);
}

std::map<std::string, std::string> read_safetensors_index(std::string_view json,
                                                          const std::string& where) {
  IndexReader reader(where);
  Json::sax_parse(json.begin(), json.end(), &reader);
  if (!reader.found) fail(ErrorCode::kCorruptData, where, "it has no weight_map");
  return std::move(reader.weight_map);
}

}  // namespace moxie::io
