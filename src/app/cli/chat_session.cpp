#include "app/cli/chat_session.h"

#include <fmt/format.h>

#include <fstream>

#include "base/files.h"
#include "base/text_util.h"

namespace moxie::cli {

struct ChatSession::Command {
  std::string_view name, argument, summary;
  void (ChatSession::*act)(const std::string& rest);  // null: leave
};

const ChatSession::Command ChatSession::kCommands[] = {
    {"/reset", "", "forget the conversation, keep the system message", &ChatSession::reset},
    {"/system", "TEXT", "set the system message and start again; without TEXT none",
     &ChatSession::set_system},
    {"/adapter", "DIR", "answer with this adapter from now on; without DIR with the plain model",
     &ChatSession::use_adapter},
    {"/save", "FILE", "append the conversation to a JSONL file that moxie tune can read",
     &ChatSession::save},
    {"/help", "", "show this list", &ChatSession::help},
    {"/exit", "", "leave; so does the end of input", nullptr}};

ChatSession::ChatSession(ChatModel& model, std::string system, const Context& context,
                         std::istream& in, std::ostream& out, std::ostream& err)
    : model_(model), system_(std::move(system)), context_(context), in_(in), out_(out), err_(err) {
  start_again();
}

void ChatSession::start_again() {
  messages_ = Json::array();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
}

void ChatSession::run() {
  if (context_.out.is_terminal)
    err_ << context_.err.dim("/help lists what else can be typed here") << "\n";
  std::string message;
  while (read_message(message)) {
    if (message.empty()) continue;
    try {
      if (message.front() == '/') {
        if (!obey(message)) return;
      } else {
        answer(message);
      }
    } catch (const Error& error) {
      // One bad file name must not end a conversation; without anybody to read it, it must.
      if (!context_.out.is_terminal) throw;
      err_ << context_.err.red("error: ") << printable(error.what()) << "\n";
    }
  }
}

// A line; one that ends with a backslash goes on in the next.
bool ChatSession::read_message(std::string& message) {
  message.clear();
  bool goes_on = true;
  while (goes_on) {
    if (context_.out.is_terminal) {
      err_ << context_.err.green(message.empty() ? "you> " : "...> ") << std::flush;
    }
    std::string line;
    if (!std::getline(in_, line)) return !message.empty();
    goes_on = line.ends_with('\\');
    if (goes_on) line.back() = '\n';
    message += line;
  }
  const size_t begin = message.find_first_not_of(" \t\r\n");
  const size_t end = message.find_last_not_of(" \t\r\n");
  message = begin == std::string::npos ? "" : message.substr(begin, end - begin + 1);
  return true;
}

bool ChatSession::obey(const std::string& line) {
  const size_t space = line.find(' ');
  const std::string word = line.substr(0, space);
  const std::string rest =
      space == std::string::npos ? "" : line.substr(line.find_first_not_of(' ', space));
  std::vector<std::string> names;
  for (const auto& command : kCommands) {
    if (word == command.name) {
      if (command.act == nullptr) return false;
      (this->*command.act)(rest);
      return true;
    }
    names.emplace_back(command.name);
  }
  fail(ErrorCode::kInvalidArgument, "chat", "there is no command {}{}", word,
       suggestion(word, names));
}

void ChatSession::answer(const std::string& message) {
  messages_.push_back({{"role", "user"}, {"content", message}});
  const bool is_streamed = !context_.globals.json;
  std::string said;
  try {
    said = model_.answer(messages_, [&](std::string_view piece) {
      if (is_streamed) out_ << printable(piece) << std::flush;
    });
  } catch (...) {
    messages_.erase(messages_.size() - 1);  // what was not answered was not said
    throw;
  }
  messages_.push_back({{"role", "assistant"}, {"content", said}});
  if (is_streamed) {
    out_ << "\n" << std::flush;
  } else {
    out_ << messages_.back().dump(-1, ' ', false, Json::error_handler_t::replace) << "\n"
         << std::flush;
  }
}

void ChatSession::reset(const std::string&) {
  start_again();
}

void ChatSession::set_system(const std::string& rest) {
  system_ = rest;
  start_again();
}

void ChatSession::use_adapter(const std::string& rest) {
  model_.use_adapter(rest);
}

void ChatSession::save(const std::string& path) {
  if (path.empty())
    fail(ErrorCode::kInvalidArgument, "chat", "/save needs a file name: /save talk.jsonl");
  const Json line = {{"messages", messages_}};
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << line.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
  if (!file) fail(ErrorCode::kIo, "chat", "cannot write to '{}'", path);
  err_ << "saved " << messages_.size() << " messages to " << printable(path) << "\n";
}

void ChatSession::help(const std::string&) {
  for (const auto& command : kCommands) {
    const std::string left = fmt::format("{} {}", command.name, command.argument);
    err_ << fmt::format("  {:<14}  {}\n", left, command.summary);
  }
  err_ << "  a line that ends with \\ goes on in the next\n";
}

}  // namespace moxie::cli
