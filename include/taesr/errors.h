#pragma once

#include <stdexcept>
#include <string>

#include "taesr/export.h"

namespace taesr {

/// Root of everything that the library throws on purpose.
///
/// A message says what is wrong, where (file, field, offset), the allowed range and the remedy.
/// The same classes exist in Python, where they also derive from ValueError or OSError.
class TAESR_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);
  ~Error() override;
};

/// An argument, option or configuration value outside its allowed range.
class TAESR_API InvalidArgument : public Error {
 public:
  using Error::Error;
  ~InvalidArgument() override;
};

/// The operating system refused: missing file, full disk, no permission, a lock held elsewhere.
class TAESR_API IoError : public Error {
 public:
  using Error::Error;
  ~IoError() override;
};

/// A file's bytes do not follow the format that they claim.
class TAESR_API FormatError : public Error {
 public:
  using Error::Error;
  ~FormatError() override;
};

/// A file was made by a version of the format that this build does not read.
class TAESR_API VersionError : public FormatError {
 public:
  using FormatError::FormatError;
  ~VersionError() override;
};

/// A file's content does not match its checksum.
class TAESR_API ChecksumError : public FormatError {
 public:
  using FormatError::FormatError;
  ~ChecksumError() override;
};

/// Data made with one model was opened with another.
class TAESR_API ModelMismatch : public Error {
 public:
  using Error::Error;
  ~ModelMismatch() override;
};

/// More was asked for at once than fits: try again later, or raise the limit that the message names.
class TAESR_API Overloaded : public Error {
 public:
  using Error::Error;
  ~Overloaded() override;
};

}  // namespace taesr
