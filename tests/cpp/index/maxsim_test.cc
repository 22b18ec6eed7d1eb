#include "index/maxsim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "index/maxsim_kernels.h"
#include "index/top_k.h"
#include "support/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kDimension = 30;  // no multiple of what a byte or a register holds

Matrix to_matrix(const std::vector<std::vector<float>>& rows, std::size_t columns) {
  Matrix matrix(rows.size(), columns);
  for (std::size_t i = 0; i < rows.size(); ++i) std::copy(rows[i].begin(), rows[i].end(), matrix.row(i).begin());
  return matrix;
}

Matrix clustered(std::mt19937& random, std::size_t rows, std::size_t columns = kDimension) {
  return to_matrix(testing::clustered_vectors(random, rows, columns, 40), columns);
}

std::int64_t id_of(std::size_t text) { return static_cast<std::int64_t>(4 * text + 2); }

/// Texts of 0 to 39 tokens of the rows, and the index over them.
struct Corpus {
  explicit Corpus(std::size_t count, unsigned seed = 1) : random(seed) {
    const Matrix rows = clustered(random, 2000);
    index = std::make_unique<TokenIndex>(TokenCodec::fit(rows, {.centroids = 64}));
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t tokens = i == 3 ? 0 : random() % 40;
      Matrix text(tokens, kDimension);
      for (std::size_t t = 0; t < tokens; ++t) {
        const auto row = rows.row(random() % rows.rows);
        std::copy(row.begin(), row.end(), text.row(t).begin());
      }
      index->append(id_of(i), text);
      texts.push_back(std::move(text));
    }
    query = clustered(random, 19);
  }

  /// In double precision over what the codes decode to.
  [[nodiscard]] double expected_score(std::size_t text) const {
    const auto codes = index->codec().encode(texts[text]);
    Matrix decoded(texts[text].rows, kDimension);
    index->codec().decode(codes.data(), decoded.rows, decoded.values.data());
    return reference_score(decoded);
  }

  [[nodiscard]] double reference_score(const Matrix& tokens) const {
    if (tokens.rows == 0) return -static_cast<double>(query.rows);
    double total = 0;
    for (std::size_t q = 0; q < query.rows; ++q) {
      double best = -1e9;
      for (std::size_t t = 0; t < tokens.rows; ++t) {
        double product = 0;
        for (std::size_t d = 0; d < kDimension; ++d) product += double{query.row(q)[d]} * tokens.row(t)[d];
        best = std::max(best, product);
      }
      total += best;
    }
    return total;
  }

  std::mt19937 random;
  std::unique_ptr<TokenIndex> index;
  std::vector<Matrix> texts;
  Matrix query;
};

TEST(MaxProducts, EveryKernelAgreesWithDoublePrecision) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const auto& [name, kernel] : max_products()) {
    for (const std::size_t dimension : {1, 30, 128}) {
      for (std::size_t count = 0; count <= 20; ++count) {
        std::vector<float> group(kMaxSimGroup * dimension);
        std::vector<float> tokens(count * dimension);
        for (float& value : group) value = normal(random);
        for (float& value : tokens) value = normal(random);
        float best[kMaxSimGroup];
        std::fill(std::begin(best), std::end(best), 0.25F);
        kernel(group.data(), dimension, tokens.data(), count, best);
        for (std::size_t i = 0; i < kMaxSimGroup; ++i) {
          double expected = 0.25;
          for (std::size_t t = 0; t < count; ++t) {
            double product = 0;
            for (std::size_t d = 0; d < dimension; ++d)
              product += double{group[kMaxSimGroup * d + i]} * tokens[t * dimension + d];
            expected = std::max(expected, product);
          }
          EXPECT_NEAR(best[i], expected, 1e-4) << name;
        }
      }
    }
  }
}

TEST(TokenCodec, ATokenTakes36BytesOf128DimensionsAnd28Of96) {
  std::mt19937 random(3);
  EXPECT_EQ(TokenCodec::fit(clustered(random, 50, 128)).code_size(), 36U);
  EXPECT_EQ(TokenCodec::fit(clustered(random, 50, 96)).code_size(), 28U);
}

TEST(TokenCodec, DecodedTokensPointWhereTheirVectorsDo) {
  std::mt19937 random(4);
  const Matrix rows = clustered(random, 3000, 96);
  const TokenCodec codec = TokenCodec::fit(rows, {.centroids = 128});
  const auto codes = codec.encode(rows);
  Matrix decoded(rows.rows, rows.columns);
  codec.decode(codes.data(), rows.rows, decoded.values.data());
  double mean = 0;
  for (std::size_t i = 0; i < rows.rows; ++i) {
    double product = 0;
    double squares = 0;
    for (std::size_t j = 0; j < rows.columns; ++j) {
      product += double{rows.row(i)[j]} * decoded.row(i)[j];
      squares += double{decoded.row(i)[j]} * decoded.row(i)[j];
    }
    mean += product / std::sqrt(squares) / static_cast<double>(rows.rows);
  }
  EXPECT_GT(mean, 0.97);
}

TEST(TokenCodec, TokensThatAreCentroidsAndOfZerosAreKept) {
  Matrix rows(3, 5);
  rows.row(1)[2] = 1;
  rows.row(2)[4] = -1;
  const TokenCodec codec = TokenCodec::fit(rows);
  EXPECT_EQ(codec.centroid_count(), 3U);
  const auto codes = codec.encode(rows);
  Matrix decoded(3, 5);
  codec.decode(codes.data(), 3, decoded.values.data());
  for (std::size_t i = 0; i < 15; ++i) EXPECT_NEAR(decoded.values[i], rows.values[i], 1e-5);
}

TEST(TokenCodec, BadInputIsRefused) {
  Matrix rows(4, 6);
  const TokenCodec codec = TokenCodec::fit(rows);
  EXPECT_THROW((void)codec.encode(Matrix(1, 7)), InvalidArgument);
  EXPECT_THROW((void)TokenCodec::fit(Matrix(0, 6)), InvalidArgument);
  EXPECT_THROW((void)TokenCodec::fit(Matrix(2, 0)), InvalidArgument);
  EXPECT_THROW((void)TokenCodec::fit(rows, {.centroids = 0}), InvalidArgument);
  EXPECT_THROW((void)TokenCodec::fit(rows, {.centroids = 65537}), InvalidArgument);
  EXPECT_THROW((void)TokenCodec::fit(rows, {.iterations = 0}), InvalidArgument);
  rows.values[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW((void)TokenCodec::fit(rows), InvalidArgument);
  EXPECT_THROW((void)codec.encode(rows), InvalidArgument);
  rows.values[3] = 1e30F;
  EXPECT_THROW((void)codec.encode(rows), InvalidArgument);
}

TEST(TokenIndex, ScoresAreExactOverTheDecodedTokens) {
  const Corpus corpus(60);
  IdList ids;
  for (std::size_t i = 0; i < corpus.texts.size(); ++i) ids.push_back(id_of(i));
  const auto scored = corpus.index->score(corpus.query, ids);
  ASSERT_EQ(scored.size(), ids.size());
  EXPECT_TRUE(std::is_sorted(scored.begin(), scored.end(), ranks_before));
  for (const Candidate& hit : scored) {
    EXPECT_NEAR(hit.score, corpus.expected_score(static_cast<std::size_t>(hit.chunk / 4)), 1e-4);
  }
  EXPECT_EQ(corpus.index->score(corpus.query, {id_of(3)}).at(0).score, -19);  // the text without tokens
}

TEST(TokenIndex, CandidatesHoldTheBestTexts) {
  const Corpus corpus(400);
  const IdList all = corpus.index->live_ids();
  const auto exact = corpus.index->score(corpus.query, all);
  const IdList found = corpus.index->candidates(corpus.query, 100);
  EXPECT_EQ(found.size(), 100U);
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    kept += std::binary_search(found.begin(), found.end(), exact[i].chunk) ? 1 : 0;
  }
  EXPECT_GE(kept, 9U);
}

TEST(TokenIndex, AMissCostsACandidateNoMoreThanItsFarthestProbe) {
  constexpr std::size_t kAxes = 8;
  const auto along = [](std::size_t axis) {
    std::vector<float> row(kAxes);
    row[axis] = 1;
    return row;
  };
  std::vector<std::vector<float>> sample;
  for (std::size_t i = 0; i < 64; ++i) sample.push_back(along(i % kAxes));
  TokenIndex index(TokenCodec::fit(to_matrix(sample, kAxes), {.centroids = kAxes}));
  index.append(1, to_matrix({along(0), along(3)}, kAxes));  // has the first token, and nearly the others
  index.append(2, to_matrix({along(1)}, kAxes));            // has what is a little nearer to the others
  const std::vector<float> other = {0, 0.6F, 0.58F, 0.55F, 0, 0, 0, 0};
  const Matrix query = to_matrix({along(0), other, other}, kAxes);
  EXPECT_EQ(index.score(query, {1, 2}).front().chunk, 1);
  EXPECT_EQ(index.candidates(query, 1, 2), IdList{1});
  EXPECT_EQ(index.candidates(query, 2, 0).size(), 2u);  // one probe at least
}

TEST(TokenIndex, AFilterAndDeletionsLeaveOutWhatTheySay) {
  Corpus corpus(100);
  const IdList gone = {id_of(1), id_of(50), 3, 999999};
  corpus.index->remove(gone);
  corpus.index->remove(gone);
  EXPECT_EQ(corpus.index->size(), 98U);
  for (const Candidate& hit : corpus.index->score(corpus.query, {id_of(0), id_of(1), id_of(2), id_of(50)})) {
    EXPECT_TRUE(hit.chunk == id_of(0) || hit.chunk == id_of(2));
  }
  const IdList allowed = {id_of(1), id_of(7), id_of(8), id_of(9)};
  for (const std::int64_t id : corpus.index->candidates(corpus.query, 50, 64, &allowed)) {
    EXPECT_TRUE(id == id_of(7) || id == id_of(8) || id == id_of(9));
  }
}

TEST(TokenIndex, DroppingTheDeletedChangesNoScore) {
  Corpus corpus(100);
  const std::size_t tokens = corpus.index->token_count();
  IdList gone;
  for (std::size_t i = 0; i < 40; ++i) gone.push_back(id_of(2 * i));
  const auto before = corpus.index->score(corpus.query, {id_of(1), id_of(99)});
  corpus.index->remove(gone);
  EXPECT_LT(corpus.index->token_count(), tokens);
  EXPECT_EQ(corpus.index->size(), 60U);
  const auto after = corpus.index->score(corpus.query, {id_of(1), id_of(99)});
  ASSERT_EQ(after.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(after[i].score, before[i].score);
}

TEST(TokenIndex, QueriesThatCannotBeAreRefusedAndEmptyOnesScoreNothing) {
  const Corpus corpus(10);
  EXPECT_THROW((void)corpus.index->score(Matrix(2, 7), {2}), InvalidArgument);
  Matrix bad(1, kDimension);
  bad.values[0] = std::numeric_limits<float>::infinity();
  EXPECT_THROW((void)corpus.index->candidates(bad, 3), InvalidArgument);
  EXPECT_TRUE(corpus.index->candidates(Matrix(0, kDimension), 5).empty());
  EXPECT_EQ(corpus.index->score(Matrix(0, kDimension), {id_of(1)}).at(0).score, 0);
  const TokenIndex empty(corpus.index->codec());
  EXPECT_TRUE(empty.candidates(corpus.query, 5).empty());
  EXPECT_TRUE(empty.score(corpus.query, {1, 2}).empty());
}

IndexFile file_of(const std::vector<IndexSection>& sections) {
  std::string bytes = encode_index_header({IndexKind::kTokens, "model", {1, 1}}, sections);
  for (const IndexSection& section : sections) bytes += section.bytes;
  return IndexFile(std::move(bytes), "tokens.idx");
}

TEST(TokenIndex, ASavedIndexComesBackAsItWas) {
  Corpus corpus(50);
  corpus.index->remove({id_of(9)});
  const TokenIndex again = TokenIndex::load(file_of(corpus.index->save()));
  EXPECT_EQ(again.live_ids(), corpus.index->live_ids());
  EXPECT_EQ(again.candidates(corpus.query, 20), corpus.index->candidates(corpus.query, 20));
  const auto a = again.score(corpus.query, again.live_ids());
  const auto b = corpus.index->score(corpus.query, again.live_ids());
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].score, b[i].score);
}

TEST(TokenIndex, DamageUnderRightChecksumsIsRefusedOrCanBeSearched) {
  Corpus corpus(20);
  const auto original = corpus.index->save();
  std::size_t accepted = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 1500; ++round) {
    auto sections = original;
    std::string& bytes = sections[corpus.random() % sections.size()].bytes;
    bytes[corpus.random() % bytes.size()] = static_cast<char>(corpus.random());
    if (round % 8 == 0) bytes.resize(corpus.random() % bytes.size());
    try {
      const TokenIndex index = TokenIndex::load(file_of(sections));
      if (index.codec().dimension() == kDimension) {
        for (const Candidate& hit : index.score(corpus.query, index.candidates(corpus.query, 10)))
          EXPECT_TRUE(std::isfinite(hit.score));
      }
      ++accepted;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(accepted, 0U);
  EXPECT_GT(refused, 0U);
}

}  // namespace
}  // namespace taesr
