#pragma once

/// Marks a symbol as part of the public interface of the shared library; all others are hidden.
#if defined(_WIN32)
#  ifdef TAESR_BUILDING_LIBRARY
#    define TAESR_API __declspec(dllexport)
#  else
#    define TAESR_API __declspec(dllimport)
#  endif
#else
#  define TAESR_API __attribute__((visibility("default")))
#endif
