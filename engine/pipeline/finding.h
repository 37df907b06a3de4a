// SPDX-License-Identifier: Apache-2.0
// One thing about an image, a model and a request that a person should know before believing the
// answers. Plain values.
#pragma once

#include <string>
#include <vector>

namespace atlas::engine {

enum class Severity {
    Note,   ///< something that could not be checked
    Warn,   ///< the answers may be wrong
    Refuse  ///< there can be no answer
};
/// "note", "warn" or "refuse", as run.json has it.
const char* severityName(Severity severity);

struct Finding {
    std::string code;  ///< for scripts, such as "subject" or "colours"; stable
    Severity severity = Severity::Warn;
    // Whole sentences with their full stops.
    std::string what;
    std::string why;   ///< may be empty
    std::string todo;  ///< what the person can do; may be empty

    /// The sentences, one after the other.
    std::string text() const;
};

/// Adds `found` to `findings`; one with the same code takes the place of the older.
void mergeFindings(std::vector<Finding>& findings, const std::vector<Finding>& found);

/// The codes of refusals and warnings with blanks between, for a column of a table.
std::string findingCodes(const std::vector<Finding>& findings);

/// The texts of the warnings alone.
std::vector<std::string> warningTexts(const std::vector<Finding>& findings);

}  // namespace atlas::engine
