// A prompt as the teacher's text encoder was trained to see it.
#pragma once

#include <string>
#include <string_view>

namespace wandistill {

/// Error naming `where` and the byte offset of the first byte that is not valid UTF-8.
void check_utf8(std::string_view text, const std::string& where);

/// What diffusers' WanPipeline does to a prompt (prompt_clean): ftfy.fix_text, html.unescape twice, Unicode
/// white space collapsed and stripped. The text must be valid UTF-8 (Error otherwise).
std::string clean_prompt(std::string_view utf8);

}  // namespace wandistill
