// A program of somebody else's: encodes texts, fills a collection and searches it.
#include <filesystem>
#include <iostream>
#include <memory>
#include <vector>

#include <taesr/taesr.h>

int main(int, char** argv) {
  const auto encoder = std::make_shared<taesr::Encoder>(taesr::Encoder::load());
  const std::vector<std::string> texts = {"How do I reset my password?"};
  const auto encoded = encoder->encode(texts, {.role = taesr::Role::kQuery, .depth = "easy", .dim = 256});
  std::cout << encoded.embeddings.rows << " x " << encoded.embeddings.columns << ", depth " << encoded.depths[0] << "\n";

  auto collection = taesr::Collection::open(argv[1], encoder);
  const std::vector<taesr::Document> documents = {
      {.id = "passwords", .title = "Passwords", .text = "To reset your password, open Settings and choose Security."},
      {.id = "invoices", .title = "Invoices", .text = "Invoices are sent on the first day of every month."},
  };
  collection.add(documents);
  const auto result = taesr::search(collection, texts[0], {.k = 1});
  std::cout << result.hits.at(0).chunk.document << "\n";
  return result.hits.at(0).chunk.document == "passwords" ? 0 : 1;
}
