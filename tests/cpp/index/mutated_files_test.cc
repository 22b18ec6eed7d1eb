// Index files of every kind with bytes changed at random, half of them under right checksums. They are
// refused, or answer as their content says: each answer is compared with one worked out from the file's
// sections, or by another way through the index.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/byte_io.h"
#include "index/hnsw_index.h"
#include "index/keyword_index.h"
#include "index/maxsim.h"
#include "index/sparse_index.h"
#include "index/top_k.h"
#include "support/mutated_files.h"
#include "support/vectors.h"

namespace taesr {
namespace {

constexpr std::size_t kDimension = 10;
constexpr std::size_t kFiles = 1000;  // of a kind
constexpr std::size_t kAll = 10'000;

using Use = std::function<void(const IndexFile&, std::mt19937&)>;

/// A section changed and every checksum right, or a header changed and its own checksum right.
std::string repaired(const IndexOrigin& origin, std::vector<IndexSection> sections, std::mt19937& random) {
  const bool in_header = random() % 5 == 0;
  if (!in_header) testing::damage(sections[random() % sections.size()].bytes, random);
  std::string bytes = encode_index_header(origin, sections);
  if (in_header) {
    bytes.resize(bytes.size() - sizeof(std::uint64_t));
    testing::damage(bytes, random);
    bytes = testing::with_checksum(bytes);
  }
  for (const IndexSection& section : sections) bytes += section.bytes;
  return bytes;
}

void read_mutated(IndexKind kind, const std::vector<IndexSection>& sections, const Use& use) {
  const IndexOrigin origin{kind, "model", {1, 1}};
  std::string original = encode_index_header(origin, sections);
  for (const IndexSection& section : sections) original += section.bytes;
  testing::read_mutated_files(
      original, kFiles, [&](std::mt19937& random) { return repaired(origin, sections, random); },
      [&](const std::string& bytes, std::mt19937& random) {
        const IndexFile file(bytes, "mutated.idx");
        if (file.origin().kind != kind || file.origin().fingerprint != origin.fingerprint ||
            file.origin().revision != origin.revision)
          throw FormatError("of other rows, which a collection compares");
        use(file, random);
      });
}

IndexFile saved(const std::vector<IndexSection>& sections) {
  std::string bytes = encode_index_header({}, sections);
  for (const IndexSection& section : sections) bytes += section.bytes;
  return IndexFile(std::move(bytes), "saved.idx");
}

template <typename T>
std::vector<T> values_of(const IndexFile& file, const char (&tag)[5]) {
  const std::string_view bytes = file.section(section_tag(tag));
  return ByteReader(bytes, "section").get_all<T>(bytes.size() / sizeof(T));
}

/// Those of the file's ids that are not marked as deleted, with their slots.
std::map<std::int64_t, std::size_t> live_slots(const IndexFile& file) {
  const auto ids = values_of<std::int64_t>(file, "IDS ");
  const auto deleted = values_of<std::uint8_t>(file, "DEAD");
  std::map<std::int64_t, std::size_t> live;
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    if (deleted[slot] == 0) live[ids[slot]] = slot;
  }
  return live;
}

/// Best first, without repetition.
void expect_ranked(const std::vector<Candidate>& hits) {
  std::set<std::int64_t> chunks;
  for (std::size_t i = 0; i < hits.size(); ++i) {
    EXPECT_TRUE(i == 0 || ranks_before(hits[i - 1], hits[i])) << "rank " << i;
    EXPECT_TRUE(chunks.insert(hits[i].chunk).second) << "chunk " << hits[i].chunk << " twice";
  }
}

void expect_equal(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].chunk, b[i].chunk);
    EXPECT_EQ(a[i].score, b[i].score);
  }
}

class MutatedVectorFiles : public ::testing::TestWithParam<VectorFormat> {};

/// Hits of a dense index are rows of the file with their products.
void check_dense(const IndexFile& file, const HnswIndexOptions& options, std::mt19937& random) {
  HnswIndex index = HnswIndex::load(file, kDimension, options);
  const RowFormat format(options.format, kDimension);
  const auto vectors = values_of<std::byte>(file, "VECS");
  const auto live = live_slots(file);
  ASSERT_EQ(index.size(), live.size());
  const auto query = testing::random_unit_vector(random, kDimension);
  for (const std::size_t k : {std::size_t{1}, std::size_t{10}, kAll}) {
    const auto hits = index.search(query, k);
    EXPECT_EQ(hits.size(), std::min(k, live.size()));
    expect_ranked(hits);
    for (const Candidate& hit : hits) {
      const auto row = format.read(vectors.data() + live.at(hit.chunk) * format.bytes());
      EXPECT_NEAR(hit.score, testing::dot(query, row), 1e-5);
    }
  }
  if (random() % 8 == 0 && index.last_id() < std::numeric_limits<std::int64_t>::max()) {
    const std::int64_t id = index.last_id() + 1;
    index.append(id, query);
    index.link();
    EXPECT_EQ(index.search(query, kAll).front().chunk, id);
    EXPECT_EQ(HnswIndex::load(saved(index.compacted().save()), kDimension, options).live_ids(), index.live_ids());
  }
}

TEST_P(MutatedVectorFiles, AreRefusedOrAnswerAsTheirContentSays) {
  const HnswIndexOptions options{.format = GetParam(), .graph = {.links = 6, .construction_width = 30}};
  HnswIndex index(kDimension, options);
  std::mt19937 random(31);
  std::int64_t id = 0;
  for (const auto& vector : testing::clustered_vectors(random, HnswIndex::kExactBelow + 60, kDimension, 20))
    index.append(++id, vector);
  index.link();
  index.remove({3, 4, 900});
  read_mutated(IndexKind::kDense, index.save(),
               [&](const IndexFile& file, std::mt19937& r) { check_dense(file, options, r); });
}

INSTANTIATE_TEST_SUITE_P(Formats, MutatedVectorFiles,
                         ::testing::Values(VectorFormat::kFloat32, VectorFormat::kFloat16, VectorFormat::kInt8));

/// Scores of a keyword index are the sums of its terms', which come by another way.
void check_keywords(const IndexFile& file) {
  KeywordIndex index = KeywordIndex::load(file);
  const std::string query = "printer word3 number5 number7 word3";
  const IdList ids = index.live_ids();
  EXPECT_EQ(ids.size(), live_slots(file).size());
  std::map<std::int64_t, double> expected;
  const auto terms = index.term_scores(query, ids);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (const TermScore& term : terms[i]) expected[ids[i]] += term.score;
  }
  const auto hits = index.search(query, kAll);
  EXPECT_EQ(hits.size(), expected.size());
  expect_ranked(hits);
  for (const Candidate& hit : hits) EXPECT_NEAR(hit.score, expected.at(hit.chunk), 1e-5);
  expect_equal(KeywordIndex::load(saved(index.save())).search(query, kAll), hits);
  index.remove(ids);
  EXPECT_TRUE(index.search(query, 5).empty());
}

TEST(MutatedFiles, OfKeywordsAreRefusedOrAnswerAsTheirContentSays) {
  KeywordIndex index;
  for (std::int64_t id = 1; id <= 150; ++id) {
    index.append(id, "printer number" + std::to_string(id % 40) + " word" + std::to_string(id % 7));
  }
  index.remove({3, 4, 90});
  read_mutated(IndexKind::kKeyword, index.save(),
               [](const IndexFile& file, std::mt19937&) { check_keywords(file); });
}

/// The first of all hits are the hits of a search for a few, which leaves out what cannot be among them.
void check_sparse(const IndexFile& file, const SparseVector& query) {
  SparseIndex index = SparseIndex::load(file);
  const IdList ids = index.live_ids();
  EXPECT_EQ(ids.size(), index.size());
  const auto all = index.search(query, kAll);
  expect_ranked(all);
  for (const Candidate& hit : all) {
    EXPECT_GT(hit.score, 0) << "not a number, or nothing";
    EXPECT_TRUE(std::ranges::binary_search(ids, hit.chunk));
  }
  const auto few = index.search(query, 7);
  ASSERT_EQ(few.size(), std::min<std::size_t>(7, all.size()));
  expect_equal(few, {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(few.size())});
  expect_equal(SparseIndex::load(saved(index.save())).search(query, kAll), all);
  index.remove(ids);
  EXPECT_TRUE(index.search(query, 5).empty());
}

TEST(MutatedFiles, OfSparseVectorsAreRefusedOrAnswerAsTheirContentSays) {
  std::mt19937 random(33);
  SparseIndex index;
  for (std::int64_t id = 1; id <= 500; ++id) {
    SparseVector text;
    for (int piece = static_cast<int>(random() % 4); piece < 60; piece += 1 + static_cast<int>(random() % 9)) {
      text.push_back({piece, 0.01F * static_cast<float>(1 + random() % 300)});
    }
    index.append(id, text);
    if (id == 450) index.build();
  }
  index.remove({3, 4, 90, 460});
  const SparseVector query = {{1, 0.5F}, {7, 2.0F}, {30, 1.0F}, {31, 0.1F}, {59, 1.5F}};
  read_mutated(IndexKind::kImpact, index.save(),
               [&](const IndexFile& file, std::mt19937&) { check_sparse(file, query); });
}

/// The sum of the query tokens' largest products with a text's, and what rounding may add to it.
std::pair<double, double> max_sim(const Matrix& query, const Matrix& text) {
  if (text.rows == 0) return {-static_cast<double>(query.rows), 1};
  double total = 0;
  double magnitude = 1;
  for (std::size_t i = 0; i < query.rows; ++i) {
    double best = -std::numeric_limits<double>::infinity();
    for (std::size_t j = 0; j < text.rows; ++j) {
      best = std::max(best, testing::dot(query.row(i), text.row(j)));
      for (const float value : text.row(j)) magnitude = std::max(magnitude, std::abs(double{value}));
    }
    total += best;
  }
  return {total, magnitude};
}

/// Scores of a token index are those of what its codes decode to.
void check_tokens(const IndexFile& file, const Matrix& query) {
  TokenIndex index = TokenIndex::load(file);
  const TokenCodec& codec = index.codec();
  const auto live = live_slots(file);
  EXPECT_EQ(index.size(), live.size());
  if (codec.dimension() != query.columns) return;
  const auto borders = values_of<std::uint64_t>(file, "BORD");
  const auto codes = values_of<std::uint8_t>(file, "CODE");
  const auto hits = index.score(query, index.live_ids());
  EXPECT_EQ(hits.size(), live.size());
  expect_ranked(hits);
  for (const Candidate& hit : hits) {
    const std::size_t slot = live.at(hit.chunk);
    const std::size_t begin = slot == 0 ? 0 : borders[slot - 1];
    Matrix text(borders[slot] - begin, query.columns);
    codec.decode(codes.data() + begin * codec.code_size(), text.rows, text.values.data());
    const auto [score, magnitude] = max_sim(query, text);
    EXPECT_NEAR(hit.score, score, 1e-4 * magnitude);
  }
  for (const std::int64_t id : index.candidates(query, 10)) EXPECT_TRUE(live.contains(id));
  const TokenIndex again = TokenIndex::load(saved(index.save()));
  expect_equal(again.score(query, again.live_ids()), hits);
  index.remove(index.live_ids());
  EXPECT_TRUE(index.candidates(query, 5).empty());
}

TEST(MutatedFiles, OfTokenVectorsAreRefusedOrAnswerAsTheirContentSays) {
  std::mt19937 random(34);
  const auto draw = [&](std::size_t tokens) {
    Matrix rows(tokens, kDimension);
    for (std::size_t i = 0; i < tokens; ++i) {
      std::ranges::copy(testing::random_unit_vector(random, kDimension), rows.row(i).begin());
    }
    return rows;
  };
  TokenIndex index(TokenCodec::fit(draw(300), {.centroids = 16}));
  for (std::int64_t id = 1; id <= 40; ++id) index.append(id, draw(id == 7 ? 0 : random() % 12));
  index.remove({3, 4});
  const Matrix query = draw(5);
  read_mutated(IndexKind::kTokens, index.save(),
               [&](const IndexFile& file, std::mt19937&) { check_tokens(file, query); });
}

}  // namespace
}  // namespace taesr
