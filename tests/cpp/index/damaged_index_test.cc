// Index files come from a disk that anybody may have written to. What these tests change carries right
// checksums, so that it is the checks of the content that are tested, not the checksums.

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "core/byte_io.h"
#include "index/hnsw_index.h"
#include "index/keyword_index.h"
#include "support/mutated_files.h"
#include "support/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kDimension = 6;

IndexFile file_of(const std::vector<IndexSection>& sections) {
  std::string bytes = encode_index_header({IndexKind::kDense, "model", {1, 1}}, sections);
  for (const IndexSection& section : sections) bytes += section.bytes;
  return IndexFile(std::move(bytes), "damaged.idx");
}

VectorTable make_table(std::size_t rows) {
  std::mt19937 random(5);
  VectorTable table(kDimension);
  for (std::size_t i = 0; i < rows; ++i) {
    table.append(static_cast<std::int64_t>(i + 1), testing::random_unit_vector(random, kDimension));
  }
  return table;
}

TEST(DamagedIndex, AGraphIsRefusedOrCanBeSearchedAndExtended) {
  const VectorTable rows = make_table(300);
  const VectorTable more_rows = make_table(320);  // the same and twenty more
  HnswGraph graph;
  graph.extend(rows);
  const std::string original = graph.encode();
  std::mt19937 random(6);
  std::size_t accepted = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = original;
    for (std::size_t i = 0; i <= random() % 3; ++i) testing::damage(bytes, random);
    try {
      ByteReader reader(bytes, "graph");
      HnswGraph decoded = HnswGraph::decode(reader, rows);
      ++accepted;
      const auto query = testing::random_unit_vector(random, kDimension);
      for (const std::size_t k : {1, 40, 1000}) {
        for (const auto& [slot, score] : decoded.search(reinterpret_cast<const std::byte*>(query.data()), k, nullptr))
          ASSERT_LT(slot, rows.size());
      }
      if (accepted % 20 == 0) decoded.extend(more_rows);
    } catch (const FormatError&) {
    }
  }
  EXPECT_GT(accepted, 50u) << "too few got past the checks to say anything about the search";
  EXPECT_LT(accepted, 5500u);
}

TEST(DamagedIndex, SectionsAreRefusedOrHarmless) {
  const VectorTable rows = make_table(60);
  HnswIndex dense(kDimension);
  KeywordIndex keyword;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    dense.append(rows.ids()[i], rows.format().read(rows.row(i)));
    keyword.append(rows.ids()[i], "printer number" + std::to_string(i) + " word" + std::to_string(i % 7));
  }
  dense.remove({3, 4});
  keyword.remove({3, 4});
  std::mt19937 random(8);
  const auto check = [&](const std::vector<IndexSection>& original,
                         const std::function<void(const IndexFile&)>& use) {
    std::size_t accepted = 0;
    for (int round = 0; round < 3000; ++round) {
      auto sections = original;
      testing::damage(sections[random() % sections.size()].bytes, random);
      try {
        use(file_of(sections));
        ++accepted;
      } catch (const FormatError&) {
      }
    }
    EXPECT_GT(accepted, 10u);
    EXPECT_LT(accepted, 2500u);
  };
  check(dense.save(), [&](const IndexFile& file) {
    HnswIndex loaded = HnswIndex::load(file, kDimension);
    const auto query = testing::random_unit_vector(random, kDimension);
    EXPECT_LE(loaded.search(query, 10).size(), loaded.size());
    static_cast<void>(loaded.compacted().save());
  });
  check(keyword.save(), [&](const IndexFile& file) {
    KeywordIndex loaded = KeywordIndex::load(file);
    EXPECT_LE(loaded.search("printer word3 number5", 100).size(), loaded.size());
    loaded.remove(loaded.live_ids());
    static_cast<void>(loaded.save());
  });
}

/// Three nodes in a row, the middle one on two levels; each test breaks one thing.
struct GraphBytes {
  std::uint32_t links = 16;
  std::uint64_t count = 3;
  std::uint32_t entry = 1;
  std::vector<std::uint8_t> levels = {0, 1, 0};
  std::vector<std::vector<std::uint32_t>> lists = {{1}, {0, 2}, {}, {1}};  // in the order of the file
  std::string tail;

  [[nodiscard]] std::string encode() const {
    ByteWriter writer;
    writer.put(links);
    writer.put(count);
    writer.put(entry);
    for (const std::uint8_t level : levels) writer.put(level);
    for (const auto& list : lists) {
      writer.put(static_cast<std::uint16_t>(list.size()));
      writer.put_all(list.data(), list.size());
    }
    writer.put_text(tail);
    return writer.take();
  }
};

std::string refusal_of(const GraphBytes& graph) {
  const VectorTable table = make_table(3);
  const std::string bytes = graph.encode();
  ByteReader reader(bytes, "graph");
  try {
    static_cast<void>(HnswGraph::decode(reader, table));
    return "accepted";
  } catch (const FormatError& error) {
    return error.what();
  }
}

TEST(DamagedIndex, EachRuleOfAGraphIsEnforced) {
  EXPECT_EQ(refusal_of({}), "accepted");
  const auto expect_refused = [](const std::string& why, const std::function<void(GraphBytes&)>& change) {
    GraphBytes graph;
    change(graph);
    const std::string refusal = refusal_of(graph);
    EXPECT_NE(refusal.find(why), std::string::npos) << refusal << " instead of " << why;
  };
  expect_refused("number of links", [](GraphBytes& g) { g.links = 17; });
  expect_refused("number of nodes", [](GraphBytes& g) { g.count = 4; });
  expect_refused("number of nodes", [](GraphBytes& g) { g.count = ~0ull; });
  expect_refused("entry point", [](GraphBytes& g) { g.entry = 3; });
  expect_refused("entry point", [](GraphBytes& g) { g.entry = 0; });
  expect_refused("impossible level", [](GraphBytes& g) { g.levels[1] = 33; });
  expect_refused("does not exist", [](GraphBytes& g) { g.lists[0] = {3}; });
  expect_refused("does not exist", [](GraphBytes& g) { g.lists[0] = {0xffffffff}; });
  expect_refused("own neighbour", [](GraphBytes& g) { g.lists[0] = {0}; });
  expect_refused("twice", [](GraphBytes& g) { g.lists[1] = {2, 0, 2}; });
  expect_refused("missing from its level", [](GraphBytes& g) { g.lists[2] = {0}; });
  expect_refused("too many neighbours", [](GraphBytes& g) { g.lists[0].assign(33, 1); });
  expect_refused("too many neighbours", [](GraphBytes& g) { g.lists[2].assign(17, 0); });
  expect_refused("ends too early", [](GraphBytes& g) { g.lists.pop_back(); });
  expect_refused("too many", [](GraphBytes& g) { g.tail = "x"; });
}

TEST(DamagedIndex, EachRuleOfVectorsIsEnforced) {
  const auto load = [](std::vector<std::int64_t> ids, std::vector<std::uint8_t> dead,
                       std::vector<float> values) {
    ByteWriter id_bytes, dead_bytes, value_bytes;
    id_bytes.put_all(ids.data(), ids.size());
    dead_bytes.put_all(dead.data(), dead.size());
    value_bytes.put_all(values.data(), values.size());
    return HnswIndex::load(file_of({{section_tag("IDS "), id_bytes.take()},
                                    {section_tag("DEAD"), dead_bytes.take()},
                                    {section_tag("VECS"), value_bytes.take()}}),
                           2);
  };
  EXPECT_EQ(load({1, 2}, {0, 1}, {1, 0, 0, 1}).size(), 1u);
  EXPECT_THROW(load({2, 2}, {0, 0}, {1, 0, 0, 1}), FormatError);
  EXPECT_THROW(load({0, 2}, {0, 0}, {1, 0, 0, 1}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 2}, {1, 0, 0, 1}), FormatError);
  EXPECT_THROW(load({1, 2}, {0}, {1, 0, 0, 1}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 0, 0}, {1, 0, 0, 1}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 0}, {1, 0, 0}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 0}, {1, 0, 0, 1, 1}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 0}, {1, 0, 0, 2}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 0}, {1, 0, 0, NAN}), FormatError);
  EXPECT_THROW(load({1, 2}, {0, 0}, {1, 0, 0, INFINITY}), FormatError);
}

TEST(DamagedIndex, EachRuleOfPostingsIsEnforced) {
  struct Term {
    std::string text;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> postings;  // step in slots, frequency
  };
  const auto load = [](const std::vector<Term>& terms, std::vector<std::uint32_t> lengths,
                       const std::string& tail = "") {
    const std::vector<std::int64_t> ids = {4, 9};
    const std::vector<std::uint8_t> dead = {0, 0};
    ByteWriter id_bytes, dead_bytes, length_bytes, term_bytes;
    id_bytes.put_all(ids.data(), ids.size());
    dead_bytes.put_all(dead.data(), dead.size());
    length_bytes.put_all(lengths.data(), lengths.size());
    for (const Term& term : terms) {
      term_bytes.put_varint(static_cast<std::uint32_t>(term.text.size()));
      term_bytes.put_text(term.text);
      term_bytes.put_varint(static_cast<std::uint32_t>(term.postings.size()));
      for (const auto& [step, frequency] : term.postings) {
        term_bytes.put_varint(step);
        term_bytes.put_varint(frequency);
      }
    }
    term_bytes.put_text(tail);
    return KeywordIndex::load(file_of({{section_tag("IDS "), id_bytes.take()},
                                       {section_tag("DEAD"), dead_bytes.take()},
                                       {section_tag("LENS"), length_bytes.take()},
                                       {section_tag("TERM"), term_bytes.take()}}));
  };
  EXPECT_EQ(load({{"disk", {{0, 2}, {1, 1}}}, {"full", {{1, 1}}}}, {2, 2}).search("disk", 9).size(), 2u);
  EXPECT_THROW(load({{"full", {{0, 2}}}, {"disk", {{1, 2}}}}, {2, 2}), FormatError) << "order of terms";
  EXPECT_THROW(load({{"disk", {{0, 2}}}, {"disk", {{1, 2}}}}, {2, 2}), FormatError) << "a term twice";
  EXPECT_THROW(load({{"", {{0, 2}, {1, 2}}}}, {2, 2}), FormatError) << "no term";
  EXPECT_THROW(load({{"disk", {}}}, {0, 0}), FormatError) << "a term nowhere";
  EXPECT_THROW(load({{"disk", {{2, 1}}}}, {0, 0}), FormatError) << "slot past the end";
  EXPECT_THROW(load({{"disk", {{0, 1}, {0xffffffff, 1}}}}, {1, 0}), FormatError) << "slot wraps round";
  EXPECT_THROW(load({{"disk", {{0, 1}, {0, 1}}}}, {2, 0}), FormatError) << "slot twice";
  EXPECT_THROW(load({{"disk", {{0, 0}}}}, {0, 0}), FormatError) << "frequency 0";
  EXPECT_THROW(load({{"disk", {{0, 2}}}}, {3, 0}), FormatError) << "length";
  EXPECT_THROW(load({{"disk", {{0, 2}}}}, {2}), FormatError) << "too few lengths";
  EXPECT_THROW(load({}, {0, 0}, "\xff\xff\xff\xff\xff\xff"), FormatError) << "endless number";
  EXPECT_THROW(load({}, {0, 0}, "\xff\xff\xff\xff\x7f"), FormatError) << "number of 35 bits";
}

}  // namespace
}  // namespace taesr
