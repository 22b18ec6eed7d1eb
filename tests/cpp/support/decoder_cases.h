#pragma once

#include <initializer_list>
#include <vector>

#include "support/random_decoder.h"
#include "taesr/decoder.h"

namespace taesr::testing {

/// A kind of decoder.
struct DecoderCase {
  LayerSharing sharing = LayerSharing::kNone;
  Routing routing = Routing::kNone;
  KvCaching caching = KvCaching::kFull;
  Gate gate = Gate::kPreserving;
};

/// All sharing schemes without routers and, with these gates, all routers, each with both ways of caching.
inline std::vector<DecoderCase> decoder_cases(std::initializer_list<Gate> gates) {
  std::vector<DecoderCase> all;
  for (const KvCaching caching : {KvCaching::kFull, KvCaching::kShared}) {
    for (const LayerSharing sharing :
         {LayerSharing::kNone, LayerSharing::kSequence, LayerSharing::kMiddleSequence, LayerSharing::kCycle,
          LayerSharing::kMiddleCycle}) {
      all.push_back({sharing, Routing::kNone, caching});
    }
    for (const LayerSharing sharing : {LayerSharing::kCycle, LayerSharing::kMiddleCycle}) {
      for (const Routing routing : {Routing::kExpertChoice, Routing::kTokenChoice}) {
        for (const Gate gate : gates) all.push_back({sharing, routing, caching, gate});
      }
    }
  }
  return all;
}

/// A small decoder of a kind, with three recursions where layers are shared.
inline DecoderConfig small_decoder(const DecoderCase& of) {
  const bool middle =
      of.sharing == LayerSharing::kMiddleCycle || of.sharing == LayerSharing::kMiddleSequence;
  DecoderConfig config =
      small_decoder(of.sharing, middle ? 8 : 6, of.sharing == LayerSharing::kNone ? 1 : 3);
  config.routing = of.routing;
  config.gate = of.gate;
  return config;
}

}  // namespace taesr::testing
