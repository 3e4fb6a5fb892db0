#include "src/train/export_card.h"

#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

/// One line, with nothing that ends a table's cell.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

/// 'text' for a POSIX shell.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c == '\n' ? ' ' : c;
    }
  }
  return out + "'";
}

std::string millions(int64_t parameters) {
  const double m = static_cast<double>(parameters) / 1e6;
  std::ostringstream out;
  out.precision(m < 10 ? 2 : m < 100 ? 3 : 4);
  out << m << " M";
  return out.str();
}

std::string python_example(const ExportInfo& info) {
  // A JSON string is a Python string too.
  return cat("```python\nimport torch\nfrom diffusers import WanPipeline\n\n",
             "pipe = WanPipeline.from_pretrained(\".\", torch_dtype=torch.float32)  # this folder\n",
             "picture = pipe(\n    prompt=", Json(info.example_prompt).dump(), ",\n    height=", info.height,
             ", width=", info.width,
             ",\n    num_frames=1,  # a still picture\n    num_inference_steps=", info.steps,
             ",\n    guidance_scale=1.0,  # the guidance is in the weights\n",
             "    generator=torch.Generator().manual_seed(0),\n    output_type=\"pil\",\n).frames[0][0]\n",
             "picture.save(\"picture.png\")\n```\n");
}

}  // namespace

std::string model_card(const WanTransformer& student, const ExportInfo& info, bool linked,
                       const std::filesystem::path& teacher) {
  const WanConfig& config = student.config();
  std::string card =
      cat("---\nlibrary_name: diffusers\npipeline_tag: text-to-image\ntags:\n- wan\n- distillation\n- "
          "text-to-image\n---\n\n",
          "# A text-to-image student of ", cell(info.teacher_name), "\n\n", "A Wan transformer of ",
          millions(student.layout().total()), " parameters (", config.layers, " blocks, ", config.heads,
          " heads of ", config.head_dim, ", ", config.hidden(), " channels) that makes pictures of ",
          info.width, " x ", info.height,
          " pixels. It was trained by wandistill to predict the teacher's *guided* velocity, so it needs one "
          "pass per step, without classifier-free guidance. Text encoder, tokenizer and VAE are the "
          "teacher's; so is the "
          "licence that applies.\n\n");
  if (!info.contact_sheet.empty())
    card += "![Samples: prompts down, epochs across, the teacher's own picture last](contact_sheet.png)\n\n";

  card += cat(
      "## Use with diffusers\n\n`pip install torch diffusers transformers ftfy sentencepiece protobuf "
      "accelerate`, then in this folder:\n\n",
      python_example(info), "\n", "| setting | value | why |\n|---|---|---|\n",
      "| `guidance_scale` | 1.0 | WanPipeline's default of 5.0 would apply the guidance a second time |\n",
      "| `num_frames` | 1 | the student knows single pictures only; the default is a video of 81 frames |\n",
      "| `num_inference_steps` | ", info.steps,
      " | what the samples were drawn with; WanPipeline's default is 50 |\n", "| `height`, `width` | ",
      info.height, ", ", info.width, " | what it was trained at; the default is 480 x 832 |\n",
      "| flow shift | ", info.flow_shift,
      " | what it was trained with; set in `scheduler/scheduler_config.json` |\n\n",
      "The scheduler is UniPC of order 1 with the corrector disabled at every step, which is DDIM on the "
      "same "
      "sigmas (UniPC tells the transformer whole-numbered timesteps).\n\n");
  card += cat("## Use with wandistill\n\n```sh\nwandistill sample --model . --prompt ",
              shell_quoted(info.example_prompt), " --steps ", info.steps, " --guidance 1 --height ",
              info.height, " --width ", info.width,
              " --out pictures\n```\n\nWith `--sampler unipc` it follows diffusers to the letter: the same "
              "noise gives the "
              "same picture.\n");
  if (linked)
    card += cat(
        "\n## Not all of it is in this folder\n\n`text_encoder`, `tokenizer` and `vae` are symbolic links "
        "into\n\n    ",
        teacher.string(), "\n\nTo pass the model on, copy this folder with the links followed (`cp -rL`).\n");
  if (!info.training_facts.empty()) {
    card += "\n## Training\n\n| | |\n|---|---|\n";
    for (const auto& [what, value] : info.training_facts)
      card += cat("| ", cell(what), " | ", cell(value), " |\n");
  }
  return card;
}

}  // namespace wandistill
