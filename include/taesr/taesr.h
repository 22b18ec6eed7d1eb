#pragma once

/// Everything at once: `#include <taesr/taesr.h>`.

#include "taesr/chunker.h"
#include "taesr/collection.h"
#include "taesr/compression.h"
#include "taesr/config.h"
#include "taesr/decoder.h"
#include "taesr/decoder_config.h"
#include "taesr/document.h"
#include "taesr/embedder.h"
#include "taesr/encoder.h"
#include "taesr/errors.h"
#include "taesr/fusion.h"
#include "taesr/generation_queue.h"
#include "taesr/maintenance.h"
#include "taesr/matrix.h"
#include "taesr/retriever.h"
#include "taesr/sparse_vector.h"
#include "taesr/stream.h"
#include "taesr/tokenizer.h"
#include "taesr/version.h"
