// Encodes each line of the standard input on its own and answers with a line: the nanoseconds that it took and
// the resident kilobytes after it, in all, of memory of its own, of mapped files, and the most that they have ever
// been. The first answer comes before any line: what loading took.
//
//   taesr_encode_lines [--model FOLDER] [--precision auto] [--depth easy] [--role query]
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <string>

#include <taesr/taesr.h>

namespace {

using Clock = std::chrono::steady_clock;

long status_kilobytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stol(line.substr(name.size() + 1));
  }
  return 0;
}

void answer(Clock::time_point begin) {
  const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin);
  std::cout << elapsed.count() << ' ' << status_kilobytes("VmRSS") << ' ' << status_kilobytes("RssAnon") << ' '
            << status_kilobytes("RssFile") << ' ' << status_kilobytes("VmHWM") << std::endl;
}

std::map<std::string, std::string> read_options(int argc, char** argv) {
  std::map<std::string, std::string> options = {
      {"--model", ""}, {"--precision", "auto"}, {"--depth", "easy"}, {"--role", "query"}};
  for (int i = 1; i < argc; i += 2) {
    const auto option = options.find(argv[i]);
    if (option == options.end() || i + 1 == argc) {
      throw taesr::InvalidArgument(std::string("'") + argv[i] + "': wanted --model, --precision, --depth or --role, " +
                                   "each with a value");
    }
    option->second = argv[i + 1];
  }
  return options;
}

void run(std::map<std::string, std::string> options) {
  auto begin = Clock::now();
  std::optional<std::filesystem::path> model;
  if (!options["--model"].empty()) model = options["--model"];
  const auto encoder = taesr::Encoder::load(model, taesr::parse_precision(options["--precision"]));
  answer(begin);
  const taesr::EncodeOptions encoding{
      .role = options["--role"] == "query" ? taesr::Role::kQuery : taesr::Role::kPassage, .depth = options["--depth"]};
  std::array<std::string, 1> texts;
  while (std::getline(std::cin, texts[0])) {
    begin = Clock::now();
    const auto result = encoder.encode(texts, encoding);
    answer(begin);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(read_options(argc, argv));
  } catch (const taesr::Error& error) {
    std::cerr << "taesr_encode_lines: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
