#include "wandistill/export.h"

#include "src/train/export_card.h"
#include "src/train/export_folder.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/flow_schedule.h"
#include "wandistill/job_sizes.h"
#include "wandistill/json.h"
#include "wandistill/safetensors.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShared[] = {"text_encoder", "tokenizer", "vae"};

/// An older folder is ours to replace only where it holds nothing or a model.
void check_place(const fs::path& folder, const fs::path& teacher) {
  if (!fs::exists(fs::symlink_status(folder))) return;
  if (fs::is_symlink(folder) || !fs::is_directory(folder))
    fail(folder.string(), ": cannot export the student here: this is not a folder");
  if (!fs::is_empty(folder) && !fs::exists(folder / "model_index.json"))
    fail(folder.string(),
         ": cannot export the student here: the folder has other files in it (no model_index.json)");
  if (fs::equivalent(folder, teacher))
    fail(folder.string(), ": cannot export the student over its own teacher");
}

/// What diffusers makes the tokenizer with. tokenizer.json says all there is to say, and the general class
/// follows it; the T5 classes of transformers 5 take the vocabulary from it but drop the byte pieces: "é"
/// would become unknown.
Json tokenizer_entry(const fs::path& teacher, const Json& entry) {
  if (fs::exists(teacher / "tokenizer" / "tokenizer.json"))
    return {"transformers", "PreTrainedTokenizerFast"};
  return entry;
}

/// The teacher's entries for what is shared; one expert, which never asks for a boundary.
Json model_index(const fs::path& teacher, const ExportInfo& info) {
  const JsonObject source = JsonObject::load(teacher / "model_index.json");
  const auto component = [&](const char* name) {
    if (!source.has(name)) source.refuse(name, "this component is missing");
    return source.json()[name];
  };
  Json index = {{"_class_name", "WanPipeline"},
                {"_diffusers_version", source.get_string_or("_diffusers_version", "0.35.0")}};
  if (info.height == info.width)
    index["_image_size"] = info.height;
  else
    index["_image_size"] = {info.height, info.width};
  index["boundary_ratio"] = nullptr;
  index["expand_timesteps"] = false;
  index["scheduler"] = component("scheduler");
  index["text_encoder"] = component("text_encoder");
  index["tokenizer"] = tokenizer_entry(teacher, component("tokenizer"));
  index["transformer"] = {"diffusers", "WanTransformer3DModel"};
  index["transformer_2"] = {nullptr, nullptr};
  index["vae"] = component("vae");
  return index;
}

/// First-order UniPC without corrector is DDIM. diffusers takes the list of the steps without; there are at
/// most num_train_timesteps of them.
Json scheduler_config(const fs::path& teacher, const ExportInfo& info) {
  SchedulerConfig::load(teacher.string());  // refuses what the student could not have been trained with
  const JsonObject source = JsonObject::load(teacher / "scheduler" / "scheduler_config.json");
  Json config = source.json();
  config["flow_shift"] = info.flow_shift;
  config["solver_order"] = 1;
  Json steps = Json::array();
  for (int64_t i = 0; i < source.get_int_or("num_train_timesteps", 1000); ++i) steps.push_back(i);
  config["disable_corrector"] = std::move(steps);
  return config;
}

void write_transformer(const fs::path& folder, const WanTransformer& student, const float* weights) {
  make_directories(folder);
  write_file_atomically(folder / "config.json", student.config().to_json());
  std::vector<NamedTensor> tensors;
  for (const ParameterInfo& p : student.layout().parameters())
    tensors.push_back({p.name, p.shape, weights + p.offset});
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
}

/// Text encoder, tokenizer and VAE. True where they were linked.
bool add_shared_components(const fs::path& folder, const fs::path& teacher) {
  int64_t bytes = 0;
  for (const char* name : kShared) bytes += folder_bytes(teacher / name);
  const bool linked = bytes >= kCopyBelow;
  for (const char* name : kShared) {
    if (linked) {
      fs::create_directory_symlink(fs::canonical(teacher / name), folder / name);
    } else {
      copy_folder(teacher / name, folder / name);
    }
  }
  return linked;
}

}  // namespace

void export_student(const fs::path& folder, const fs::path& teacher_folder, const WanTransformer& student,
                    const float* weights, const ExportInfo& info) {
  check_place(folder, teacher_folder);
  StagedFolder staged(folder);
  try {
    write_json(staged.path() / "model_index.json", model_index(teacher_folder, info));
    make_directories(staged.path() / "scheduler");
    write_json(staged.path() / "scheduler" / "scheduler_config.json", scheduler_config(teacher_folder, info));
    write_transformer(staged.path() / "transformer", student, weights);
    const bool linked = add_shared_components(staged.path(), teacher_folder);
    if (!info.contact_sheet.empty()) {
      write_file_atomically(staged.path() / "contact_sheet.png", read_file(info.contact_sheet));
    }
    write_file_atomically(staged.path() / "README.md",
                          model_card(student, info, linked, fs::canonical(teacher_folder)));
    staged.commit();
  } catch (const std::exception& error) {  // it may name a file in the folder that does not stay
    fail(folder.string(), ": cannot export the student: ", error.what());
  }
}

}  // namespace wandistill
