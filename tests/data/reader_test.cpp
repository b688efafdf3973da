// Reading data files: every kind of file and shape, and what bad input gets (rules T7 and T8).
#include "data/reader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/shape.h"
#include "data/source.h"

namespace moxie::data {
namespace {

std::vector<Record> read_all(std::string bytes, FileKind kind = FileKind::kJsonl,
                             ReadOptions options = {}) {
  Reader reader(std::move(bytes), "train.jsonl", kind, options);
  std::vector<Record> records;
  while (auto record = reader.next()) records.push_back(std::move(*record));
  return records;
}

std::string error_of(std::string bytes, FileKind kind = FileKind::kJsonl,
                     ReadOptions options = {}) {
  try {
    read_all(std::move(bytes), kind, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

#define EXPECT_SAYS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "the message is: " << (text)

TEST(Reader, EveryRowOfTheTableReadsItsOwnExample) {
  size_t rows = 0;
  for (const auto& shape : shape_table()) {
    ++rows;
    SCOPED_TRACE(shape.name);
    const Json row = parse_json(shape->example, "example");
    EXPECT_EQ(shape_of(row, "", "here").name, shape.name);
    if (shape->convert == nullptr) {
      EXPECT_SAYS(error_of(std::string(shape->example)), shape->refusal);
      EXPECT_SAYS(std::string(shape->refusal), "supervised tuning needs");
    } else {
      EXPECT_EQ(read_all(std::string(shape->example)).size(), 1u);
    }
  }
  EXPECT_EQ(rows, 8u);
}

TEST(Reader, DetectsRowByRowAndKeepsLines) {
  const auto records = read_all(
      "\xEF\xBB\xBF{\"text\": \"a\"}\r\n\n  \n{\"prompt\": \"p\", \"completion\": \"c\"}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"text\": \"no\"}");
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].kind, Record::Kind::kText);
  EXPECT_EQ(records[0].text, "a");
  EXPECT_EQ(records[1].kind, Record::Kind::kCompletion);
  EXPECT_EQ(records[1].completion, "c");
  EXPECT_EQ(records[1].where, "train.jsonl:4");
  EXPECT_EQ(records[2].kind, Record::Kind::kChat);
}

TEST(Reader, FormatOverridesDetection) {
  const std::string both = R"({"text": "t", "messages": [{"role": "user", "content": "u"}]})";
  EXPECT_EQ(read_all(both, FileKind::kJsonl, {.format = "text"})[0].text, "t");
  const std::string error = error_of(both, FileKind::kJsonl, {.format = "alpaca"});
  EXPECT_SAYS(error, "alpaca {instruction, output}");
  EXPECT_SAYS(error, "text, messages");
  EXPECT_SAYS(error_of(both, FileKind::kJsonl, {.format = "mesages"}), "did you mean 'messages'?");
}

TEST(Reader, ConvertsAlpacaAndSharegpt) {
  const auto alpaca = read_all(
      R"({"instruction": "Add.", "input": "1 2", "output": "3", "system": "s", "history": [["q", "a"]]})");
  EXPECT_EQ(alpaca[0].messages.dump(),
            R"([{"role":"system","content":"s"},{"role":"user","content":"q"},)"
            R"({"role":"assistant","content":"a"},{"role":"user","content":"Add.\n1 2"},)"
            R"({"role":"assistant","content":"3"}])");
  const auto sharegpt = read_all(
      R"({"conversations": [{"from": "human", "value": "w?"}, {"from": "function_call", )"
      R"("value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "1"}, )"
      R"({"from": "gpt", "value": "one"}], "tools": "[]"})");
  EXPECT_EQ(sharegpt[0].messages[1].dump(),
            R"({"role":"assistant","content":"","tool_calls":[{"type":"function","function":)"
            R"({"name":"f","arguments":{}}}]})");
  EXPECT_EQ(sharegpt[0].messages[2]["role"], "tool");
  EXPECT_TRUE(sharegpt[0].tools.is_array());
}

TEST(Reader, ReadsConversationalPromptAndCompletion) {
  const auto records = read_all(
      R"({"prompt": [{"role": "user", "content": [{"type": "text", "text": "a"}, )"
      R"({"type": "text", "text": "b"}]}], "completion": [{"role": "assistant", "content": "c"}]})");
  EXPECT_EQ(records[0].prompt_messages, 1);
  EXPECT_EQ(records[0].messages[0]["content"], "ab");
  EXPECT_EQ(records[0].messages.size(), 2u);
}

TEST(Reader, ReadsJsonArrays) {
  const auto records = read_all("[\n {\"text\": \"a ] , [ \\\" } \\\\\"},\n {\"text\": \"b\"}\n]\n",
                                FileKind::kJsonArray);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].text, "a ] , [ \" } \\");
  EXPECT_EQ(records[1].where, "train.jsonl:3");
  EXPECT_SAYS(error_of("{}", FileKind::kJsonArray), "put them in [ ]");
  EXPECT_SAYS(error_of("[{\"text\": \"a\"}] x", FileKind::kJsonArray), "behind the array's");
  EXPECT_SAYS(error_of("[{\"text\": \"a\"}, {\"te", FileKind::kJsonArray), "ends in the middle");
  EXPECT_SAYS(error_of("[{\"text\": \"a\"},]", FileKind::kJsonArray), "not valid JSON");
  EXPECT_SAYS(error_of("[]", FileKind::kJsonArray), "holds no example");
}

TEST(Reader, ReadsCsvByRfc4180) {
  const auto records = read_all(
      "prompt,completion\r\n\"a, \"\"b\"\"\nc\",d\r\n,\"\"\r\n\n"
      "\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"x\"\"}]\","
      "\"[{\"\"role\"\": \"\"assistant\"\", \"\"content\"\": \"\"y\"\"}]\"\r\nlast,row",
      FileKind::kCsv);
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].prompt, "a, \"b\"\nc");
  EXPECT_EQ(records[0].completion, "d");
  EXPECT_EQ(records[1].prompt, "");
  EXPECT_EQ(records[2].messages[1]["content"], "y");
  EXPECT_EQ(records[3].completion, "row");
  EXPECT_EQ(records[3].where, "train.jsonl:7");
  EXPECT_SAYS(error_of("text\na,b\n", FileKind::kCsv), "2 fields, the header has 1");
  EXPECT_SAYS(error_of("text\n\"a\n", FileKind::kCsv), "never closed");
  EXPECT_SAYS(error_of("text\n\"a\"b\n", FileKind::kCsv), "followed by 'b'");
  EXPECT_SAYS(error_of("text,text\na,b\n", FileKind::kCsv), "'text' twice");
  EXPECT_SAYS(error_of("text\n", FileKind::kCsv), "holds no example");
  const auto messages = read_all(
      "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"x\"\"}]\"\n", FileKind::kCsv);
  EXPECT_EQ(messages[0].messages[0]["content"], "x");
}

TEST(Reader, ReadsPlainTextByBlocks) {
  const auto records = read_all("\n\none\ntwo\r\n\n \nthree", FileKind::kText);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].text, "one\ntwo");
  EXPECT_TRUE(records[0].is_document);
  EXPECT_EQ(records[0].where, "train.jsonl:3");
  EXPECT_EQ(records[1].text, "three");
}

TEST(Reader, WrongTypesNameTheFieldAndTheFix) {
  EXPECT_SAYS(error_of(R"({"text": 3})"), "[train.jsonl:1] 'text' is number, but must be text");
  EXPECT_SAYS(error_of(R"({"question": "q", "answer": "a"})"), "question, answer");
  EXPECT_SAYS(error_of(R"({"question": "q"})"), "prompt_completion {prompt, completion}");
  EXPECT_SAYS(error_of(R"({"messages": []})"), "holds no message");
  EXPECT_SAYS(error_of(R"({"messages": [{"content": "x"}]})"), "messages[0] has no 'role'");
  EXPECT_SAYS(error_of(R"({"messages": [{"from": "human", "value": "x"}]})"), "sharegpt");
  EXPECT_SAYS(error_of(R"({"messages": [{"role": "user", "content": 1}]})"),
              "'messages[0].content' is number");
  EXPECT_SAYS(error_of(R"({"messages": [{"role": "user"}]})"), "'messages[0].content' is null");
  EXPECT_SAYS(error_of(R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})"),
              "not text");
  EXPECT_SAYS(error_of(R"({"prompt": "a", "completion": [{"role": "assistant", "content": "c"}]})"),
              "both must be text, or both lists");
  EXPECT_SAYS(error_of(R"({"conversations": [{"from": "humen", "value": "x"}]})"),
              "did you mean 'human'");
  EXPECT_SAYS(error_of(R"({"instruction": "a", "output": "b", "history": [["x"]]})"), "history[0]");
  EXPECT_SAYS(error_of(R"({"text": null})"), "text (null)");
}

TEST(Reader, RefusesWhatIsNoRow) {
  EXPECT_SAYS(error_of("[1, 2]"), "[train.jsonl:1] this is array where an object is needed");
  EXPECT_SAYS(error_of("{\"text\": \"a\"}\nnot json"), "[train.jsonl:2] not valid JSON");
  EXPECT_SAYS(error_of("{\"text\": \"\xFF\"}"), "not valid UTF-8");
  EXPECT_SAYS(error_of("\xC3", FileKind::kText), "not valid UTF-8");
  EXPECT_SAYS(error_of("text\n\xC3\n", FileKind::kCsv), "not valid UTF-8");
  EXPECT_SAYS(error_of("\xFF\xFE{"), "UTF-16");
  EXPECT_SAYS(error_of("{\"text\": \"a\", \"text\": \"b\"}"), "stands twice");
  EXPECT_SAYS(error_of("{\"text\": " + std::string(100000, '[')), "nested deeper than 64");
  EXPECT_SAYS(error_of(""), "holds no example");
  EXPECT_SAYS(error_of("\n\n"), "holds no example");
}

TEST(Reader, HostileSizesFailWithinASecond) {
  std::string many_keys = "{\"k\":0";
  for (int i = 0; i < 1000000; ++i) many_keys += fmt::format(",\"{}\":0", i);
  const std::string long_line = "{\"text\": \"" + std::string(kMaxRecordBytes, 'a') + "\"}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_SAYS(error_of(many_keys + "}"), "more than 1024 keys");
  EXPECT_SAYS(error_of(long_line), "longer than 16");
  EXPECT_SAYS(error_of("[" + long_line + "]", FileKind::kJsonArray), "longer than 16");
  EXPECT_SAYS(error_of("text\n" + long_line, FileKind::kCsv), "longer than 16");
  EXPECT_SAYS(error_of(std::string(4096, ','), FileKind::kCsv), "more than 1024 columns");
  EXPECT_SAYS(error_of(std::string(kMaxRecordBytes + 1, 'a'), FileKind::kText), "longer than 16");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(6));
}

TEST(Reader, SkipsBadRowsOnlyWhenAskedAndCountsThem) {
  const std::string bytes = "{\"text\": \"a\"}\n[]\n{\"x\": 1}\n{\"text\": \"b\"}\n" +
                            std::string(kMaxRecordBytes + 1, 'a') + "\n{\"text\": \"c\"}\n";
  Reader reader(bytes, "d.jsonl", FileKind::kJsonl, {.skip_bad = true});
  std::string seen;
  while (auto record = reader.next()) seen += record->text;
  EXPECT_EQ(seen, "abc");
  EXPECT_EQ(reader.rows(), 3);
  EXPECT_EQ(reader.skipped(), 3);
  EXPECT_SAYS(reader.first_skip(), "[d.jsonl:2]");
  EXPECT_SAYS(error_of("[]\n[]\n", FileKind::kJsonl, {.skip_bad = true}), "all 2 rows are bad");
  // A structure that breaks off is never taken for a file that ends here.
  EXPECT_SAYS(error_of("[{\"text\": \"a\"}, {", FileKind::kJsonArray, {.skip_bad = true}),
              "ends in the middle");
}

class ReaderFiles : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / fmt::format("moxie_reader_{}", getpid());
};

TEST_F(ReaderFiles, TellsTheKindByNameAndContent) {
  EXPECT_EQ(Reader(write("a.json", " [{\"text\": \"x\"}]")).next()->text, "x");
  EXPECT_EQ(Reader(write("b.json", "\n{\"text\": \"y\"}\n{\"text\": \"z\"}")).next()->text, "y");
  EXPECT_EQ(Reader(write("c.CSV", "text\nw\n")).next()->text, "w");
  EXPECT_EQ(Reader(write("d", "{\"text\": \"v\"}")).next()->text, "v");
  EXPECT_TRUE(Reader(write("e.md", "# T\nu")).next()->is_document);
  EXPECT_THROW(Reader(write("f", "hello")), Error);
  EXPECT_THROW(Reader(write("g.parquet", "PAR1")), Error);
  EXPECT_THROW(Reader(write("h.jsonl", "")), Error);
  EXPECT_THROW(Reader(write("i.txt", "x"), {.format = "alpaca"}), Error);
  EXPECT_THROW(Reader(folder_ / "absent.jsonl"), Error);
  EXPECT_THROW(Reader(folder_ / ""), Error);
}

TEST_F(ReaderFiles, StreamsAcrossBuffers) {
  std::string bytes;
  for (int i = 0; i < 30000; ++i) bytes += fmt::format("{{\"text\": \"example {}\"}}\n", i);
  ASSERT_GT(bytes.size(), size_t{512} << 10);
  Reader reader(write("long.jsonl", bytes));
  for (int i = 0; i < 30000; ++i) {
    const auto record = reader.next();
    ASSERT_TRUE(record);
    ASSERT_EQ(record->text, fmt::format("example {}", i));
  }
  EXPECT_FALSE(reader.next());
}

}  // namespace
}  // namespace moxie::data
