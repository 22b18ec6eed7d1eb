#include "samples.h"

#include <map>
#include <sstream>

namespace taesr {
namespace {

constexpr const char* kProse =
    "A collection keeps documents, their chunks and their vectors in one folder, and every change to it is "
    "written in a transaction before the call returns. When the power fails in the middle of a long import, "
    "the next program that opens the folder finds each document either whole or not at all. Searching asks two "
    "indexes at once: one compares the meaning of the question with the meaning of every passage, the other "
    "counts the words that they share, weighted by how rare they are. The two lists are joined by rank, since "
    "their scores have nothing in common. An answer quotes the passages that it rests on, so that a reader can "
    "check it, and where none of them fits well enough it says that it isn't sure instead. Printers, passwords, "
    "invoices and holiday requests are what people ask about most in the morning; by the afternoon they have "
    "moved on to the projector in room 12, the badge reader at the back door and a spreadsheet that opens with "
    "the wrong separator. Whoever writes the articles should put one problem into one page, name the product "
    "and its version in the heading, and list the steps in the order in which they are taken.";

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace

const Encoder& sample_encoder(Precision precision) {
  static std::map<Precision, Encoder> loaded;
  const auto found = loaded.find(precision);
  return found != loaded.end() ? found->second : loaded.emplace(precision, Encoder::load({}, precision)).first->second;
}

std::vector<std::string> sample_passages(std::size_t count, const Tokenizer& tokenizer) {
  const auto words = words_of(kProse);
  std::vector<std::string> passages;
  for (std::size_t i = 0; i < count; ++i) {
    std::string passage;
    for (std::size_t j = 0;; ++j) {
      const std::string longer = passage + (j == 0 ? "" : " ") + words[(7 * i + j) % words.size()];
      if (tokenizer.encode(longer).size() + 2 > kPassageTokens) break;
      passage = longer;
    }
    passages.push_back(std::move(passage));
  }
  return passages;
}

std::string sample_query() { return "how do I move a collection to laptop"; }

std::vector<std::int64_t> even_offsets(std::int64_t sequences, std::int64_t length) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i <= sequences; ++i) offsets.push_back(i * length);
  return offsets;
}

}  // namespace taesr
