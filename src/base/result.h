#pragma once
// Result<T>: a value or an Error, for failures that are expected (probing a file, user config,
// request bodies). Everything else throws.
#include <optional>
#include <utility>
#include <variant>

#include "base/error.h"

namespace moxie {

template <class T>
class Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  bool ok() const { return state_.index() == 0; }
  const Error& error() const { return std::get<1>(state_); }
  // The value; throws the error if there is none.
  T& value() {
    if (!ok()) throw error();
    return std::get<0>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

// Runs `f` and turns a thrown Error into a Result.
template <class F>
auto attempt(F&& f) -> Result<decltype(f())> {
  try {
    return f();
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace moxie
