#include "wandistill/json.h"

#include "temporary_folder.h"
#include "wandistill/file.h"
#include "wandistill/suggest.h"

namespace wandistill::testing {
namespace {

namespace {

JsonObject object(const std::string& text) {
  return {"dir/c.json", Json::parse(text)};
}

}  // namespace

TEST_CASE("json: values of every type") {
  const JsonObject json = object(
      R"({"i": -3, "w": 2.0, "d": 0.5, "b": true, "s": "x", "is": [1, 2], "ds": [1, 0.5], "ss": ["a"], "n": null})");
  CHECK(json.get_int("i") == -3);
  CHECK(json.get_int("w") == 2);
  CHECK(json.get_double("d") == 0.5);
  CHECK(json.get_double("i") == -3);
  CHECK(json.get_bool("b"));
  CHECK(json.get_string("s") == "x");
  CHECK(json.get_ints("is") == std::vector<int64_t>{1, 2});
  CHECK(json.get_doubles("ds") == std::vector<double>{1, 0.5});
  CHECK(json.get_strings("ss") == std::vector<std::string>{"a"});
  CHECK(json.is_null("n"));
  CHECK(json.is_null("absent"));
  CHECK(json.has("n"));
  CHECK_FALSE(json.has("absent"));
  CHECK(json.get_int_or("n", 5) == 5);
  CHECK(json.get_int_or("i", 5) == -3);
  CHECK(json.get_double_or("absent", 1.5) == 1.5);
  CHECK(json.get_bool_or("absent", true));
  CHECK(json.get_string_or("n", "y") == "y");
  CHECK(json.get_ints_or("n", {7}) == std::vector<int64_t>{7});
  CHECK(json.get_doubles_or("absent", {7}) == std::vector<double>{7});
  json.finish();
}

TEST_CASE("json: a wrong type names file, key, expected and found") {
  const JsonObject json = object(R"({"d": 2.5, "s": "12", "l": [1, "x"], "n": null, "big": 1e300})");
  check_mentions(error_of([&] { json.get_int("d"); }),
                 {"dir/c.json: 'd'", "expected a whole number, found 2.5"});
  check_mentions(error_of([&] { json.get_int("s"); }), {"'s'", "found \"12\""});
  check_mentions(error_of([&] { json.get_int("big"); }), {"'big'", "expected a whole number"});
  check_mentions(error_of([&] { json.get_double("n"); }), {"'n'", "expected a number, found null"});
  check_mentions(error_of([&] { json.get_bool("d"); }), {"expected true or false"});
  check_mentions(error_of([&] { json.get_string("d"); }), {"expected a text"});
  check_mentions(error_of([&] { json.get_ints("l"); }), {"'l'", "a list of whole numbers", "[1,\"x\"]"});
  check_mentions(error_of([&] { json.get_doubles("d"); }), {"a list of numbers"});
  check_mentions(error_of([&] { json.get_int_or("s", 1); }), {"expected a whole number"});
}

TEST_CASE("json: missing and unknown keys come with a suggestion") {
  const JsonObject json = object(R"({"hidden_sise": 64, "depth": 2, "_class_name": "X", "other": 1})");
  CHECK(json.get_int("depth") == 2);
  check_mentions(error_of([&] { json.get_int("hidden_size"); }),
                 {"'hidden_size'", "missing", "'hidden_sise' a misspelling"});
  check_mentions(error_of([&] { json.finish(); }),
                 {"dir/c.json: 'hidden_sise'", "unknown key", "did you mean 'hidden_size'"});
  json.ignore("hidden_sise");
  check_mentions(error_of([&] { json.finish(); }), {"'other'", "unknown key"});
  json.ignore("other");
  json.finish();
}

TEST_CASE("json: what is no JSON object names file, line and column") {
  const TemporaryFolder folder;
  const auto error_for = [&](const std::string& text) {
    return error_of([&] { JsonObject::load(put(folder / "c.json", text)); });
  };
  check_mentions(error_for("{\n  \"a\": 1,\n  \"b\" 2\n}"), {"c.json: line 3, column 7", "not valid JSON"});
  check_mentions(error_for("x"), {"c.json: line 1, column 1", "not valid JSON"});
  check_mentions(error_for(""), {"c.json: line 1, column 1", "not valid JSON"});
  check_mentions(error_for("[1]"), {"c.json", "expected a JSON object", "[1]"});
  check_mentions(error_for("{\"a\": \"\xff\"}"), {"c.json: line 1", "not valid JSON"});
  check_mentions(error_of([&] { JsonObject::load(folder / "none.json"); }), {"none.json", "No such file"});
}

TEST_CASE("json: written files keep the order of the keys") {
  const TemporaryFolder folder;
  write_json(folder / "a.json", {{"z", 1}, {"a", {1, 2}}});
  CHECK(read_file(folder / "a.json") == "{\n  \"z\": 1,\n  \"a\": [\n    1,\n    2\n  ]\n}\n");
}

TEST_CASE("suggest: the nearest word, and silence where none is near") {
  const std::vector<std::string> words = {"batch_size", "num_epochs", "lr", "sample_dir"};
  CHECK(nearest("bacth_size", words) == "batch_size");
  CHECK(nearest("num_epoch", words) == "num_epochs");
  CHECK(nearest("sampledir", words) == "sample_dir");
  CHECK(nearest("lr", words) == "lr");
  CHECK(nearest("optimizer", words).empty());
  CHECK(nearest("", words).empty());
  CHECK(nearest("x", {}).empty());
  CHECK(did_you_mean("bach_size", words) == " (did you mean 'batch_size'?)");
  CHECK(did_you_mean("zzz", words).empty());
}

}  // namespace
}  // namespace wandistill::testing
