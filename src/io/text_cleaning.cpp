// The steps and their order are those of ftfy 6 (fix_text with its defaults) and Python's html.unescape. Of
// ftfy's repair of mojibake only the case is here where a whole line is UTF-8 that was read as Latin-1 or
// Windows-1252 (once or several times). Left out: lines that are only partly mojibake, mojibake through other
// code pages, and mojibake in which bytes were lost or no-break spaces became spaces. ftfy also judges how
// unlikely a line looks before it repairs it; here it is enough that the whole line decodes.
#include "wandistill/text_cleaning.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "html_entities.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

using Text = std::u32string;  // code points
using TextView = std::u32string_view;

/// Code points of valid UTF-8; nothing, and the offset of the first bad byte, of any other.
std::optional<Text> decode_utf8(std::string_view bytes, size_t* bad_offset = nullptr) {
  Text text;
  for (size_t at = 0; at < bytes.size();) {
    utf8proc_int32_t code;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(bytes.data()) + at,
                                         static_cast<utf8proc_ssize_t>(bytes.size() - at), &code);
    if (length <= 0) {
      if (bad_offset) *bad_offset = at;
      return {};
    }
    text += static_cast<char32_t>(code);
    at += static_cast<size_t>(length);
  }
  return text;
}

std::string encode_utf8(TextView text) {
  std::string bytes;
  for (const char32_t code : text) {
    utf8proc_uint8_t buffer[4];
    const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), buffer);
    bytes.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(length));
  }
  return bytes;
}

Text normalized(TextView text, int options) {
  const std::string bytes = encode_utf8(text);
  utf8proc_uint8_t* result = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(bytes.data()),
                                   static_cast<utf8proc_ssize_t>(bytes.size()), &result,
                                   static_cast<utf8proc_option_t>(options));
  if (length < 0) fail("cannot normalise a text to Unicode NFC: ", utf8proc_errmsg(length));
  const std::string_view mapped(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
  Text out = *decode_utf8(mapped);
  std::free(result);
  return out;
}

/// What Python's str.isspace and \s call white space.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_hex(char32_t c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Windows-1252 above Latin-1: the code points of bytes 0x80..0x9f; 0 where the byte is unassigned.
constexpr char32_t kWindows1252[32] = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                       0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017d, 0,
                                       0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                       0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

/// A C1 control character as what browsers take it for.
char32_t from_c1(char32_t c) {
  return c >= 0x80 && c < 0xa0 && kWindows1252[c - 0x80] ? kWindows1252[c - 0x80] : c;
}

// --- HTML character references, by the rules of HTML 5 ---

/// The text of a numeric reference.
Text numeric_reference(uint32_t code) {
  if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return U"\ufffd";
  if (code >= 0x80 && code < 0xa0) return {from_c1(code)};
  const bool invalid = code < 0x09 || code == 0x0b || (code >= 0x0e && code < 0x20) || code == 0x7f ||
                       (code >= 0xfdd0 && code < 0xfdf0) || (code & 0xfffe) == 0xfffe;
  return invalid ? Text() : Text{static_cast<char32_t>(code)};
}

/// A numeric reference "&#..." at the start of text: what it stands for and its length; length 0 if it is
/// none.
std::pair<Text, size_t> parse_numeric(TextView text) {
  size_t at = 2;
  const bool hex = text.size() > at && (text[at] == 'x' || text[at] == 'X');
  const size_t digits = at += hex;
  uint32_t code = 0;
  for (; at < text.size() && (hex ? is_hex(text[at]) : is_digit(text[at])); ++at) {
    const char32_t c = text[at];
    const uint32_t digit = is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
    code = std::min<uint32_t>(code * (hex ? 16 : 10) + digit, 0x110000);
  }
  if (at == digits) return {Text(), 0};
  if (at < text.size() && text[at] == ';') ++at;
  return {numeric_reference(code), at};
}

/// The same for a named one. Without a semicolon the longest name that may lack it counts.
std::pair<Text, size_t> parse_named(TextView text) {
  constexpr TextView kEnds = U"\t\n\f <&#;";
  size_t end = 1;
  std::string name;
  for (; end < text.size() && end <= 32 && kEnds.find(text[end]) == TextView::npos; ++end)
    name += text[end] < 0x80 ? static_cast<char>(text[end]) : '?';
  if (end < text.size() && text[end] == ';')
    if (const Entity* entity = find_entity(name)) return {entity->text, end + 1};
  for (; name.size() > 1; name.pop_back()) {
    const Entity* entity = find_entity(name);
    if (entity && entity->semicolon_optional) return {entity->text, name.size() + 1};
  }
  return {Text(), 0};
}

/// html.unescape.
Text unescape_html(TextView text) {
  Text out;
  for (size_t at = 0; at < text.size();) {
    std::pair<Text, size_t> reference{Text(), 0};
    if (text[at] == '&') {
      const bool numeric = at + 1 < text.size() && text[at + 1] == '#';
      reference = numeric ? parse_numeric(text.substr(at)) : parse_named(text.substr(at));
    }
    if (reference.second == 0) {
      out += text[at++];
    } else {
      out += reference.first;
      at += reference.second;
    }
  }
  return out;
}

/// ftfy's more careful kind: only complete references with a semicolon, but names in capitals too (&EACUTE;).
Text unescape_complete_references(const Text& text) {
  Text out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    const bool numeric = text[at] == '&' && end < text.size() && text[end] == '#';
    if (numeric) ++end;
    const size_t start = end;
    while (end < text.size() && (is_digit(text[end]) || is_letter(text[end]))) ++end;
    const bool complete =
        text[at] == '&' && end > start && end - start <= 24 && end < text.size() && text[end] == ';';
    if (!complete) {
      out += text[at++];
      continue;
    }
    const Text reference = text.substr(at, end + 1 - at);
    std::string name(reference.begin() + 1, reference.end() - 1);
    std::optional<Text> value;
    if (numeric) {
      value = unescape_html(reference);
      if (value->find(U';') != Text::npos) value.reset();
    } else if (const Entity* entity = find_entity(name)) {
      value = entity->text;
    } else if (unescape_html(reference) == reference) {
      std::string lower = name;
      for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      const bool capitals =
          std::none_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
      if (const Entity* small = capitals ? find_entity(lower) : nullptr) {
        value.emplace();
        for (const char32_t c : small->text)
          *value +=
              c == U'\u00df' ? U"SS" : Text{static_cast<char32_t>(utf8proc_toupper(static_cast<int>(c)))};
      }
    }
    out += value ? *value : reference;
    at = end + 1;
  }
  return out;
}

// --- ftfy's other repairs ---

/// The bytes of a text that Windows-1252 (with unassigned bytes passed through) can express, else nothing.
std::optional<std::string> to_windows1252(TextView text) {
  std::string bytes;
  for (const char32_t c : text) {
    const auto* special = std::find(std::begin(kWindows1252), std::end(kWindows1252), c);
    if (c < 0x100)
      bytes += static_cast<char>(c);
    else if (special != std::end(kWindows1252))
      bytes += static_cast<char>(0x80 + (special - kWindows1252));
    else
      return {};
  }
  return bytes;
}

/// A line that is UTF-8 read as Latin-1 or Windows-1252, read right.
Text repair_mojibake(Text text) {
  while (std::any_of(text.begin(), text.end(), [](char32_t c) { return c >= 0x80; })) {
    const std::optional<std::string> bytes = to_windows1252(text);
    const std::optional<Text> decoded = bytes ? decode_utf8(*bytes) : std::nullopt;
    if (!decoded) break;
    text = *decoded;
  }
  for (char32_t& c : text) c = from_c1(c);
  return text;
}

/// Latin ligatures and digraphs taken apart; full-width and half-width forms made normal; straight quotes.
Text plain_character(char32_t c) {
  constexpr std::pair<char32_t, TextView> kLigatures[] = {
      {0x132, U"IJ"},       {0x133, U"ij"},      {0x149, U"\u02bcn"}, {0x1f1, U"DZ"},      {0x1f2, U"Dz"},
      {0x1f3, U"dz"},       {0x1c4, U"D\u017d"}, {0x1c5, U"D\u017e"}, {0x1c6, U"d\u017e"}, {0x1c7, U"LJ"},
      {0x1c8, U"Lj"},       {0x1c9, U"lj"},      {0x1ca, U"NJ"},      {0x1cb, U"Nj"},      {0x1cc, U"nj"},
      {0xfb00, U"ff"},      {0xfb01, U"fi"},     {0xfb02, U"fl"},     {0xfb03, U"ffi"},    {0xfb04, U"ffl"},
      {0xfb05, U"\u017ft"}, {0xfb06, U"st"}};
  for (const auto& [ligature, letters] : kLigatures)
    if (c == ligature) return c == 0x149 ? U"'n" : Text(letters);
  if (c == 0x3000) return U" ";
  if (c >= 0xff01 && c < 0xfff0)
    return normalized({&c, 1}, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) return U"'";
  if (c >= 0x201c && c <= 0x201f) return U"\"";
  return {c};
}

/// CR LF and the other line breaks become LF.
Text unix_line_breaks(const Text& text) {
  Text out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char32_t c = text[at];
    if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') continue;
    out += c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c;
  }
  return out;
}

/// Removes "ESC [ 36;44 m" and the like.
Text without_terminal_escapes(const Text& text) {
  Text out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == 0x1b && at + 1 < text.size() && text[at + 1] == '[') {
      size_t end = at + 2;
      while (end < text.size() && (is_digit(text[end]) || text[end] == ';')) ++end;
      if (end < text.size() && is_letter(text[end])) {
        at = end;
        continue;
      }
    }
    out += text[at];
  }
  return out;
}

bool is_useless_control(char32_t c) {
  return c < 0x09 || c == 0x0b || (c >= 0x0e && c < 0x20) || c == 0x7f || (c >= 0x206a && c < 0x2070) ||
         c == 0xfeff || (c >= 0xfff9 && c < 0xfffd);
}

/// ftfy.fix_and_explain of one line.
Text fix_line(Text text, bool unescape) {
  for (;;) {
    const Text before = text;
    if (unescape) text = unescape_complete_references(text);
    text = repair_mojibake(std::move(text));
    Text plain;
    for (const char32_t c : text) plain += plain_character(c);
    text = without_terminal_escapes(unix_line_breaks(plain));
    std::erase_if(text, is_useless_control);
    text = normalized(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (text == before) return text;
  }
}

/// ftfy.fix_text: line by line; character references stay from the first line on that has a '<' (real HTML).
Text fix_text(TextView text) {
  Text out;
  bool unescape = true;
  while (!text.empty()) {
    const TextView line = text.substr(0, std::min(text.find(U'\n'), text.size() - 1) + 1);
    if (line.find(U'<') != TextView::npos) unescape = false;
    out += fix_line(Text(line), unescape);
    text.remove_prefix(line.size());
  }
  return out;
}

}  // namespace

void check_utf8(std::string_view text, const std::string& where) {
  size_t offset = 0;
  if (decode_utf8(text, &offset)) return;
  fail(where, ": not valid UTF-8 at byte ", offset, " (value ",
       static_cast<int>(static_cast<unsigned char>(text[offset])), "); save the text as UTF-8");
}

std::string clean_prompt(std::string_view utf8) {
  check_utf8(utf8, "prompt");
  const Text text = unescape_html(unescape_html(fix_text(*decode_utf8(utf8))));
  Text out;
  for (const char32_t c : text) {
    if (!is_space(c))
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += U' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return encode_utf8(out);
}

}  // namespace wandistill
