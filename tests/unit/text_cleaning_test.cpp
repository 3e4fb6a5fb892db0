#include "wandistill/text_cleaning.h"

#include "temporary_folder.h"

namespace wandistill::testing {
namespace {

using std::string_view_literals::operator""sv;

TEST_CASE("text cleaning: as diffusers' prompt_clean does (with ftfy 6.3)") {
  // Expected values: diffusers.pipelines.wan.pipeline_wan.prompt_clean of the same texts.
  constexpr std::pair<std::string_view, std::string_view> kCases[] = {
      {"a red star", "a red star"},
      {"  two   spaces\t and\na line ", "two spaces and a line"},
      {"caf\303\251 e\314\201", "caf\303\251 \303\251"},
      {"\342\200\234quoted\342\200\235 \342\200\230it\342\200\231s\342\200\231", "\"quoted\" 'it's'"},
      {"\357\254\201ne \357\254\202u\357\254\203e\357\254\206 \307\204 \305\211",
       "fine fluffiest D\305\275 'n"},
      {"\357\274\254\357\274\257\357\274\265\357\274\244\343\200\200\357\274\256\357\274\257", "LOUD NO"},
      {"\357\274\265\357\276\200\357\275\260\357\276\235 \357\276\212\357\276\237 \357\277\243",
       "U\343\202\277\343\203\274\343\203\263 \343\203\221 \314\204"},
      {"\033[36;44mblue\033[0m", "blue"},
      {"a\r\nb\rc\342\200\250d\342\200\251e", "a b c d e"},
      {"nul\000 bell\007 del\177 bom\357\273\277 obj\357\277\274"sv, "nul bell del bom obj"},
      {"zero\342\200\213width", "zero\342\200\213width"},
      {"\302\240\342\200\203\343\200\200x\342\201\237\034y\302\205", "x y\342\200\246"},
      {"tom &amp; jerry", "tom & jerry"},
      {"&amp;amp;amp; &lt;b&gt;", "& <b>"},
      {"<b>&amp;ldquo;x&ldquo;</b>", "<b>\342\200\234x\342\200\234</b>"},
      {"&eacute; &EACUTE; &SZLIG; &hellip;", "\303\251 \303\211 SS \342\200\246"},
      {"&notit; &not; &AMP &copy2024", "\302\254it; \302\254 & \302\2512024"},
      {"&#x2019; &#146; &#39; &#x1F431;", "' ' ' \360\237\220\261"},
      {"&#0; &#xD800; &#x110000; &#11;|", "\357\277\275 \357\277\275 \357\277\275 |"},
      {"& &; &#; &#x; &unknown; &amp", "& &; &#; &#x; &unknown; &"},
      {"&CounterClockwiseContourIntegral; &NotEqualTilde;", "\342\210\263 \342\211\202\314\270"},
      {"don\303\242\342\202\254\342\204\242t \303\242\342\202\254\305\223shout\303\242\342\202\254\302\235",
       "don't \"shout\""},
      {"caf\303\203\302\251 cr\303\203\302\250me", "caf\303\251 cr\303\250me"},
      {"caf\303\203\306\222\303\202\302\251", "caf\303\251"},
      {"\303\220\302\277\303\221\342\202\254\303\220\302\270\303\220\302\262\303\220\302\265\303\221\342\200"
       "\232",
       "\320\277\321\200\320\270\320\262\320\265\321\202"},
      {"na\303\257ve \302\253\303\240 la carte\302\273 5\342\202\254 \302\275",
       "na\303\257ve \302\253\303\240 la carte\302\273 5\342\202\254 \302\275"},
      {"C1 \302\223quote\302\224 \302\205", "C1 \"quote\" \342\200\246"},
      {"\347\214\253 \320\272\320\276\321\210\320\272\320\260 \360\237\220\261",
       "\347\214\253 \320\272\320\276\321\210\320\272\320\260 \360\237\220\261"},
      {"\352\260\200 \341\204\200\341\205\241 \340\244\225\340\244\274 \342\204\253",
       "\352\260\200 \352\260\200 \340\244\225\340\244\274 \303\205"},
      {"", ""},
      {"   \n ", ""},
  };
  for (const auto& [text, expected] : kCases) {
    CAPTURE(text);
    CHECK(clean_prompt(text) == expected);
  }
}

TEST_CASE("text cleaning: cleaning a clean prompt changes nothing") {
  for (const std::string_view text : {"a cat", "caf\303\251 \"x\" & <b>", "\347\214\253"})
    CHECK(clean_prompt(text) == text);
}

TEST_CASE("text cleaning: invalid UTF-8 names the place and the byte") {
  check_utf8("caf\303\251 \360\237\220\261", "here");
  check_mentions(error_of([] { check_utf8("abc\xff", "prompts.txt, line 3"); }),
                 {"prompts.txt, line 3", "not valid UTF-8 at byte 3", "255"});
  for (const std::string_view text : {"\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "caf\xe9 x"}) {
    CAPTURE(text);
    check_mentions(error_of([&] { clean_prompt(text); }), {"prompt", "not valid UTF-8"});
  }
}

}  // namespace
}  // namespace wandistill::testing
