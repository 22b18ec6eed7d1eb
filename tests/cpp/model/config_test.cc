#include "taesr/config.h"

#include <gtest/gtest.h>

#include "taesr/errors.h"

namespace taesr {
namespace {

/// The message that `text` is refused with; empty when it is accepted.
std::string refusal(const std::string& text) {
  try {
    (void)TAESRConfig::from_json(text, "c.json");
    return "";
  } catch (const InvalidArgument& error) {
    return error.what();
  }
}

void expect_refused(const std::string& text, const std::string& part) {
  EXPECT_NE(refusal(text).find(part), std::string::npos) << text << " -> '" << refusal(text) << "'";
}

TEST(Config, JsonRoundTripKeepsEveryField) {
  TAESRConfig config;
  config.hidden_size = 96;
  config.layer_norm_eps = 1e-5;
  config.recursion_steps = {{"easy", 2}, {"medium", 4}, {"hard", 8}};
  config.matryoshka_dimensions = {16, 96};
  config.embedding_size = 96;
  config.sharing = Sharing::kMiddleSequence;
  config.entry_layers = 2;
  config.refinement_layers = 3;
  config.exit_layers = 0;
  config.sparse_head = true;
  config.late_size = 128;
  config.router_size = 32;
  config.subspaces = {{"semantic", 64}, {"temporal", 32}};
  EXPECT_EQ(TAESRConfig::from_json(config.to_json()), config);
  config.sharing = Sharing::kMiddleCycle;
  config.token_routing = TokenRouting::kExpertChoice;
  config.token_capacity = {1, 0.5};
  EXPECT_EQ(TAESRConfig::from_json(config.to_json()), config);
}

TEST(Config, MissingFieldsTakeTheirDefaults) {
  EXPECT_EQ(TAESRConfig::from_json("{}"), TAESRConfig());
}

TEST(Config, UnknownFieldIsNamedBesideTheKnownOnes) {
  expect_refused(R"({"hiden_size": 384})", "unknown field 'hiden_size'");
  expect_refused(R"({"hiden_size": 384})", "hidden_size");
}

TEST(Config, WrongTypesAreNamedWithTheirField) {
  expect_refused(R"({"hidden_size": "384"})", "'hidden_size' must be an integer");
  expect_refused(R"({"hidden_size": 384.0})", "'hidden_size' must be an integer");
  expect_refused(R"({"hidden_size": 99999999999})", "'hidden_size'");
  expect_refused(R"({"layer_norm_eps": true})", "'layer_norm_eps' must be a number");
  expect_refused(R"({"recursion_steps": [1, 3, 6]})", "'recursion_steps' must be an object");
  expect_refused(R"({"recursion_steps": {"easy": 1, "medium": "3", "hard": 6}})", "'recursion_steps.medium'");
  expect_refused(R"({"matryoshka_dimensions": 64})", "'matryoshka_dimensions' must be a list");
  expect_refused(R"({"architecture": "bert"})", "'architecture'");
}

TEST(Config, ValuesOutOfRangeAreNamedWithTheRange) {
  expect_refused(R"({"hidden_size": 0})", "'hidden_size' is 0; allowed: 8 to 8192");
  expect_refused(R"({"hidden_size": -1})", "'hidden_size' is -1");
  expect_refused(R"({"layer_norm_eps": 1e308})", "'layer_norm_eps'");
  expect_refused(R"({"hidden_size": 100})", "multiple of num_attention_heads");
  expect_refused(R"({"matryoshka_dimensions": [128, 64]})", "'matryoshka_dimensions' is 64; allowed: 129");
  expect_refused(R"({"matryoshka_dimensions": []})", "'matryoshka_dimensions' is empty");
  expect_refused(R"({"recursion_steps": {"easy": 1, "medium": 3}})", "lacks 'hard'");
  expect_refused(R"({"recursion_steps": {"easy": 4, "medium": 3, "hard": 6}})", "must not decrease");
  expect_refused(R"({"recursion_steps": {"easy": 1, "medium": 3, "hard": 6, "odd": 2}})", "'odd'");
  expect_refused(R"({"eos_id": 22000})", "'eos_id' is 22000; allowed: 0 to 21999");
}

TEST(Config, SharingWithoutAMiddleHasOnlySharedLayers) {
  EXPECT_EQ(refusal(R"({"sharing": "cycle", "entry_layers": 0, "exit_layers": 0})"), "");
  expect_refused(R"({"sharing": "cycle"})", "'entry_layers' is 1; allowed with sharing \"cycle\": 0");
  expect_refused(R"({"sharing": "sequence", "entry_layers": 0, "exit_layers": 2})", "'exit_layers' is 2");
  expect_refused(R"({"sharing": "sequence", "entry_layers": 0, "exit_layers": 0, "refinement_layers": 1})",
                 "'refinement_layers' is 1");
  expect_refused(R"({"sharing": "circle"})", "'sharing' must be one of \"middle_cycle\", \"cycle\"");
  expect_refused(R"({"sharing": 1})", "'sharing' must be one of");
  expect_refused(R"({"entry_layers": -1})", "'entry_layers' is -1; allowed: 0 to 64");
}

TEST(Config, HeadsAndSubspacesAreCheckedByName) {
  expect_refused(R"({"sparse_head": 1})", "'sparse_head' must be true or false");
  expect_refused(R"({"sparse_queries": "both"})", "'sparse_queries' must be one of \"table\", \"encoder\"");
  expect_refused(R"({"late_size": 1025})", "'late_size' is 1025; allowed: 0 to 1024");
  expect_refused(R"({"router_size": -1})", "'router_size' is -1");
  expect_refused(R"({"subspaces": {"temporal": 0}})", "'subspaces.temporal' is 0");
  expect_refused(R"({"subspaces": {"temporal": "64"}})", "'subspaces.temporal' must be an integer");
  for (const char* name : {"", "a.b", "Temporal", "a b", "\u00e9"}) {
    expect_refused(R"({"subspaces": {")" + std::string(name) + R"(": 8}})", "'subspaces' has the name");
  }
}

TEST(Config, TokenRoutingAndItsCapacityBelongTogether) {
  EXPECT_EQ(refusal(R"({"token_routing": "expert_choice", "token_capacity": [1, 0.5]})"), "");
  EXPECT_EQ(refusal(R"({"token_routing": "token_choice"})"), "");
  expect_refused(R"({"token_routing": "expert_choice"})", "'token_capacity' has 0 values");
  expect_refused(R"({"token_capacity": [0.5]})", "token_routing \"none\" asks for none");
  expect_refused(R"({"token_routing": "expert_choice", "token_capacity": [0]})", "'token_capacity' is 0; allowed");
  expect_refused(R"({"token_routing": "expert_choice", "token_capacity": [1.5]})", "'token_capacity' is 1.5");
  expect_refused(R"({"token_routing": "expert_choice", "token_capacity": [1, 0.5, 0.6]})", "after a smaller share: 0.001 to 0.5");
  expect_refused(R"({"token_routing": "expert_choice", "token_capacity": [1, 1, 1, 1, 1, 1, 1]})", "how many");
  expect_refused(R"({"token_routing": "expert_choice", "token_capacity": ["1"]})", "must be a list of numbers");
  expect_refused(R"({"token_routing": "token_choice", "sharing": "middle_sequence"})", "only \"none\" is allowed");
}

TEST(Config, LastTokenCapacityRepeats) {
  const auto config = TAESRConfig::from_json(R"({"token_routing": "expert_choice", "token_capacity": [1, 0.5]})");
  EXPECT_EQ(config.capacity(0), 1);
  EXPECT_EQ(config.capacity(1), 0.5);
  EXPECT_EQ(config.capacity(5), 0.5);
}

TEST(Config, WhatIsNotJsonIsRefused) {
  for (const char* text : {"", "[]", "null", "{", "{\"a\":}", "{\"layer_norm_eps\": NaN}", "{\"layer_norm_eps\": Infinity}"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  expect_refused("{\"layer_norm_eps\": NaN}", "layer_norm_eps");
  EXPECT_NE(refusal(std::string(10'000, '[')), "");
  EXPECT_NE(refusal(std::string("{\"a\xff\": 1}")), "");
}

TEST(Config, DepthNamesAndNumbersGiveRecursions) {
  const TAESRConfig config;
  EXPECT_EQ(config.recursions("easy"), 1);
  EXPECT_EQ(config.recursions("medium"), 3);
  EXPECT_EQ(config.recursions("hard"), 6);
  EXPECT_EQ(config.recursions("auto"), 3);
  EXPECT_EQ(config.recursions("5"), 5);
  for (const char* wrong : {"", "0", "7", "-1", "1.5", "1 ", "deep", "Easy", "99999999999999999999"}) {
    EXPECT_THROW((void)config.recursions(wrong), InvalidArgument) << wrong;
  }
}

}  // namespace
}  // namespace taesr
