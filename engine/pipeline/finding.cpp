// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/finding.h"

#include <algorithm>

namespace atlas::engine {

const char* severityName(Severity severity) {
    switch (severity) {
        case Severity::Note:
            return "note";
        case Severity::Warn:
            return "warn";
        case Severity::Refuse:
            break;
    }
    return "refuse";
}

std::string Finding::text() const {
    std::string all = what;
    for (const auto* part : {&why, &todo})
        if (!part->empty()) all += (all.empty() ? "" : " ") + *part;
    return all;
}

void mergeFindings(std::vector<Finding>& findings, const std::vector<Finding>& found) {
    for (const auto& finding : found) {
        const auto same = std::find_if(findings.begin(), findings.end(), [&](const Finding& old) {
            return old.code == finding.code;
        });
        if (same == findings.end())
            findings.push_back(finding);
        else
            *same = finding;
    }
}

std::string findingCodes(const std::vector<Finding>& findings) {
    std::string codes;
    for (const auto& finding : findings)
        if (finding.severity != Severity::Note) codes += (codes.empty() ? "" : " ") + finding.code;
    return codes;
}

std::vector<std::string> warningTexts(const std::vector<Finding>& findings) {
    std::vector<std::string> texts;
    for (const auto& finding : findings)
        if (finding.severity == Severity::Warn) texts.push_back(finding.text());
    return texts;
}

}  // namespace atlas::engine
