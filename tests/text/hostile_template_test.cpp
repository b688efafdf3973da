// Templates of strangers (rule T3): whatever they try, an error in bounded time and memory.
#include "fixtures.h"
#include "text/chat_template.h"

namespace moxie::text {
namespace {

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

void refuse(const std::string& source, const std::string& part) {
  SCOPED_TRACE(source.substr(0, 100));
  expect_error(ErrorCode::kCorruptData, part,
               [&] { ChatTemplate(source, {}, "crafted").render(Json::array(), false); });
}

std::string grow(const std::string& step) {
  return "{% set ns = namespace(x=['a', 'b']) %}{% for i in range(100000) %}{% set ns.x = " + step +
         " %}{% endfor %}";
}

TEST(HostileTemplate, StepsAreBounded) {
  refuse("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", "");
  refuse("{% for i in range(1000000) %}{{ i }}{{ i }}{{ i }}{% endfor %}", "");
  refuse("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion");
}

TEST(HostileTemplate, RangesAreBounded) {
  refuse("{{ range(1000001) }}", "range of 1000001");
  refuse("{{ range(0, 10 ** 30) }}", "range");
  EXPECT_EQ(
      ChatTemplate("{{ range(1000000)|length }}", {}, "test").render(Json::array(), false).text,
      "1000000");
}

TEST(HostileTemplate, StringsAndListsAreBounded) {
  for (const char* step :
       {"ns.x ~ ns.x", "ns.x + ns.x", "ns.x * 9", "[ns.x, ns.x]", "{'k': ns.x}", "dict(k=ns.x)",
        "[ns.x]", "ns.x|tojson|tojson", "ns.x|join(ns.x|join * 9)|list", "ns.x|batch(1)|list",
        "ns.x|list + ns.x", "(ns.x|join).replace('a', ns.x|join ~ 'a')|list", "ns.x[:] + ns.x"}) {
    refuse(grow(step), "");
  }
  refuse("{{ 'a' * 10 ** 12 }}", "budget");
  refuse("{{ [1] * 10 ** 12 }}", "budget");
  refuse("{{ 'a' * 10 ** 30 }}", "budget");
}

TEST(HostileTemplate, WidthsAreBounded) {
  for (const char* expression :
       {"'a'|indent(10 ** 9)", "[[1]]|tojson(indent=10 ** 9)", "'%1000000000d' % 1",
        "'{:>1000000000}'.format(1)", "'a'|center(10 ** 9)", "'a'.ljust(10 ** 9)",
        "'1'.zfill(10 ** 9)", "[1]|batch(10 ** 9, 0)|list", "[1]|slice(10 ** 9)|list",
        "'%1000000000s'|format('x')"}) {
    refuse(std::string("{{ ") + expression + " }}", "");
  }
}

TEST(HostileTemplate, OutputIsBounded) {
  refuse("{% for i in range(100000) %}" + std::string(1000, 'x') + "{% endfor %}", "");
  refuse("{% set x = 'a' * 17 * 1024 * 1024 %}{{ x }}", "bytes");
  // Captured text counts as well, shown or not.
  refuse("{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set c %}" +
             std::string(1000, 'x') + "{% endset %}{% set ns.l = ns.l + [c] %}{% endfor %}",
         "budget");
}

TEST(HostileTemplate, ValuesHaveNoCycles) {
  refuse("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "namespace");
  refuse("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}", "namespace");
  refuse("{% set ns = namespace() %}{% set ns.a = dict(b=ns) %}", "namespace");
  refuse("{% macro m() %}{{ ns }}{% endmacro %}{% set ns = namespace() %}{% set ns.a = m %}",
         "namespace");
}

TEST(HostileTemplate, ComparisonsPay) {
  for (const char* condition : {"a == a", "a != a", "a < a", "-1 in a", "a < a < a", "a is eq a"}) {
    refuse(std::string("{% set a = range(100000)|list %}{% for i in range(100000) %}{% if ") +
               condition + " %}{% endif %}{% endfor %}",
           "budget");
  }
  refuse(
      "{% set a = 'a' * 9000000 %}{% for i in range(100000) %}{% if 'b' in a %}{% endif %}{% "
      "endfor %}",
      "budget");
}

TEST(HostileTemplate, NestingOfTheSourceIsBounded) {
  refuse("{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}", "recursion");
  refuse("{{ " + repeat("[", 5000) + "1" + repeat("]", 5000) + " }}", "recursion");
  refuse(repeat("{% if 1 %}", 2000) + repeat("{% endif %}", 2000), "recursion");
  refuse(std::string(200 << 10, 'a'), "bytes");
  // Chains the parser does not bound must at least not break the stack.
  for (const auto& chain :
       {repeat("-", 120000) + "1", repeat("not ", 30000) + "1", "'a'" + repeat("|e", 60000),
        "a" + repeat(".b", 60000), "'a'" + repeat("~1", 60000), "1" + repeat("+1", 60000)}) {
    try {
      ChatTemplate("{{ " + chain + " }}", {}, "crafted").render(Json::array(), false);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData) << error.what();
    }
  }
}

TEST(HostileTemplate, NothingOutsideIsReached) {
  for (const char* source :
       {"{% include '/etc/passwd' %}", "{% extends 'x' %}", "{% import 'x' as y %}",
        "{% from 'x' import y %}", "{{ ''.__class__ }}{{ ''.__class__.__mro__ }}", "{{ debug() }}",
        "{{ self._TemplateReference__context }}{{ x.y.z }}", "{{ cycler.__init__.__globals__ }}",
        "{{ strftime_now('%Y' * 1000) }}", "{% block a %}{{ self.a() }}{% endblock %}"}) {
    refuse(source, "");
  }
}

TEST(HostileTemplate, MessagesCannotSpellTheMarks) {
  const ChatTemplate chat("{% generation %}{{ messages[0] }}{% endgeneration %}", {}, "test");
  const auto rendered = chat.render(Json::array({"\x01(abc\x01)"}), false);
  EXPECT_EQ(rendered.text, "\x01(abc\x01)");
  ASSERT_EQ(rendered.generated.size(), 1u);
  EXPECT_EQ(rendered.generated[0], (std::pair<int64_t, int64_t>(0, 7)));
}

}  // namespace
}  // namespace moxie::text
