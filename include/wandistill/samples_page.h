// samples/index.html: a run's sample pictures, for a browser.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wandistill/loss_curve.h"
#include "wandistill/picture_record.h"

namespace wandistill {

struct SamplesPage {
  std::string title;
  std::vector<PictureRecord> records;             ///< in the order of merge_records
  std::vector<LossPoint> curve;                   ///< empty: none is drawn
  int64_t picture_width = 0, picture_height = 0;  ///< pixels, of every picture; positive
};

/// One static HTML page to lie beside the pictures; it needs no network and no other file. Prompts down,
/// epochs across, the teacher's pictures in a last column that stays in view; above them the loss curve and
/// what each round took. Pictures load as they come into view, a click enlarges (without JavaScript it opens
/// the PNG). Outside of training (no record has an epoch) it is a gallery of the prompts.
std::string samples_page(const SamplesPage& page);

}  // namespace wandistill
