// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/run_request.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string_view>

#include "io/numbers.h"

namespace atlas::engine {

const char* runStateName(RunState state) {
    switch (state) {
        case RunState::Planning:
            return "planning";
        case RunState::Running:
            return "running";
        case RunState::Publishing:
            return "publishing";
        case RunState::Done:
            return "done";
        case RunState::Cancelled:
            return "cancelled";
        case RunState::Failed:
            break;
    }
    return "failed";
}

const char* tissueRuleName(TissueRule rule) {
    return rule == TissueRule::Wsinfer ? "wsinfer" : "overlap";
}

TissueRule parseTissueRule(const std::string& name) {
    for (const auto rule : {TissueRule::Overlap, TissueRule::Wsinfer})
        if (name == tissueRuleName(rule)) return rule;
    throw std::invalid_argument("the tissue rule is overlap or wsinfer, not \"" + name + "\"");
}

double parseResolution(const std::string& text) {
    std::string_view unit = text;
    const auto value = io::takeTypedNumber(unit);
    unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
    double um = 0;
    if (unit == "um" || unit == "\xc2\xb5m" || unit == "\xce\xbcm") um = 1;
    if (unit == "mm") um = 1e3;
    if (unit == "cm") um = 1e4;
    if (unit == "m") um = 1e6;
    if (unit == "km") um = 1e9;
    if (!value || um == 0 || !(*value > 0) || !std::isfinite(*value * um))
        throw std::invalid_argument(
            "resolution \"" + text +
            "\" is not understood: give a number with a unit, such as 0.5um or 0.3m");
    return *value * um;
}

std::string lengthText(double um, bool ground) {
    double value = um;
    const char* unit = "\xc2\xb5m";
    if (um >= 1e6 || (ground && um >= 10)) {
        value = um / 1e6;
        unit = "m";
        if (value >= 1000) {
            value /= 1000;
            unit = "km";
        } else if (value < 0.01) {
            value *= 1000;
            unit = "mm";
        }
    } else if (um >= 1000) {
        value = um / 1000;
        unit = "mm";
    }
    return (value >= 100 ? io::formatFixed(value, 0) : io::formatSignificant(value, 3)) + " " +
           unit;
}

}  // namespace atlas::engine
