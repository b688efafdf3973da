#pragma once
// A conversation at a prompt, apart from the model that answers: history, commands, saving.
// Answers go to `out`, everything else to `err`, so that a script can read the answers alone.
#include <functional>
#include <istream>
#include <ostream>
#include <string>
#include <string_view>

#include "app/cli/verb.h"
#include "base/json.h"

namespace moxie::cli {

class ChatModel {
 public:
  virtual ~ChatModel() = default;
  // Answers the conversation, handing out text as it comes; the whole answer. What came so far when
  // it is interrupted.
  virtual std::string answer(const Json& messages,
                             const std::function<void(std::string_view)>& on_text) = 0;
  // "" for none. Throws for one that cannot be read, and goes on with the present one.
  virtual void use_adapter(const std::string& folder) = 0;
};

class ChatSession {
 public:
  ChatSession(ChatModel& model, std::string system, const Context& context, std::istream& in,
              std::ostream& out, std::ostream& err);
  void run();  // until /exit or the end of input

 private:
  struct Command;
  static const Command kCommands[];
  bool read_message(std::string& message);
  bool obey(const std::string& line);  // false: leave
  void answer(const std::string& message);
  void start_again();
  void reset(const std::string& rest);
  void set_system(const std::string& rest);
  void use_adapter(const std::string& rest);
  void save(const std::string& path);
  void help(const std::string& rest);

  ChatModel& model_;
  std::string system_;
  const Context& context_;
  std::istream& in_;
  std::ostream& out_;
  std::ostream& err_;
  Json messages_ = Json::array();
};

}  // namespace moxie::cli
