// Style sheet and script of the samples page.
#pragma once

namespace wandistill {

extern const char* const kPageStyle;
/// Opens a picture in the <dialog> of kPageDialog; arrow keys lead to other epochs and prompts.
extern const char* const kPageScript;
extern const char* const kPageDialog;

}  // namespace wandistill
