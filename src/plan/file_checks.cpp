#include "src/plan/file_checks.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "src/plan/units.h"
#include "wandistill/component_tensors.h"
#include "wandistill/error.h"
#include "wandistill/safetensors.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

/// The headers of one component's files; what was found.
std::string check_headers(const fs::path& folder, const std::string& stem, std::vector<TensorSpec> tensors,
                          bool (*unused)(const std::string&)) {
  const SafetensorsFolder files(folder, stem);
  std::set<std::string> known;
  for (TensorSpec& tensor : tensors) {
    const std::string tied = "encoder.embed_tokens.weight";
    if (tensor.name == "shared.weight" && files.has(tied)) {
      known.insert(tensor.name);
      tensor.name = tied;
    }
    files.expect(tensor.name, tensor.shape);
    known.insert(tensor.name);
  }
  files.refuse_unknown(known, unused);
  int64_t bytes = 0;
  std::set<std::string> dtypes;
  std::set<fs::path> shards;
  for (const auto& [name, info] : files.tensors()) {
    bytes += info.end - info.begin;
    dtypes.insert(dtype_name(info.dtype));
    shards.insert(info.file);
  }
  std::string types;
  for (const std::string& dtype : dtypes) types += (types.empty() ? "" : "+") + dtype;
  return cat(grouped(int64_t(files.tensors().size())), " tensors as the config says, ", bytes_text(bytes),
             " ", types, " in ", shards.size(), shards.size() == 1 ? " file" : " files");
}

}  // namespace

void check_components(Checks& checks, const fs::path& folder, bool two_experts) {
  const std::string remedy =
      cat("download the component again, or correct its config.json (in ", folder.string(), ")");
  const char* const weights = "diffusion_pytorch_model";
  for (const char* part : {"transformer", "transformer_2"}) {
    if (part == std::string("transformer_2") && !two_experts) continue;
    checks.run(part, remedy, [&] {
      return check_headers(folder / part, weights, transformer_tensors(WanConfig::load(folder / part)),
                           transformer_tensor_unused);
    });
  }
  checks.run("text_encoder", remedy, [&] {
    return check_headers(folder / "text_encoder", "model",
                         umt5_tensors(Umt5Config::load(folder / "text_encoder")), umt5_tensor_unused);
  });
  checks.run("vae", remedy, [&] {
    return check_headers(folder / "vae", weights, vae_decoder_tensors(WanVaeConfig::load(folder / "vae")),
                         vae_tensor_unused);
  });
}

fs::path existing_folder(fs::path folder) {
  folder = fs::absolute(folder).lexically_normal();
  while (!fs::exists(folder) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

std::string check_writable(const fs::path& folder) {
  const fs::path at = existing_folder(folder);
  if (!fs::is_directory(at)) fail(folder.string(), ": cannot make this folder: ", at.string(), " is a file");
  if (::access(at.c_str(), W_OK | X_OK) != 0)
    fail(folder.string(), ": cannot write below ", at.string(), ": ", std::strerror(errno));
  return folder.string() + (fs::exists(folder) ? " is there" : " will be made");
}

std::string check_disk(const std::vector<std::pair<fs::path, int64_t>>& needs) {
  struct Disk {
    fs::path folder;
    int64_t needed = 0, free = 0;
  };
  std::map<dev_t, Disk> disks;
  for (const auto& [folder, bytes] : needs) {
    const fs::path at = existing_folder(folder);
    struct stat status;
    struct statvfs room;
    if (::stat(at.c_str(), &status) != 0 || ::statvfs(at.c_str(), &room) != 0)
      fail(at.string(), ": cannot ask for its free space: ", std::strerror(errno));
    Disk& disk = disks[status.st_dev];
    if (disk.folder.empty()) disk.folder = at;
    disk.needed += bytes;
    disk.free = int64_t(room.f_bavail) * int64_t(room.f_frsize);
  }
  std::string found, short_of;
  for (const auto& [id, disk] : disks) {
    const std::string text = cat(disk.folder.string(), ": ", bytes_text(disk.needed), " to write, ",
                                 bytes_text(disk.free), " free");
    std::string& list = disk.needed > disk.free ? short_of : found;
    list += (list.empty() ? "" : "\n") + text;
  }
  if (!short_of.empty()) fail(short_of);
  return found;
}

}  // namespace wandistill
