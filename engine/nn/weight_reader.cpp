// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/weight_reader.h"

#include <locale>
#include <sstream>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr size_t kNamesShown = 12;

std::string shapeText(const std::vector<int64_t>& shape) {
    std::ostringstream text;
    text.imbue(std::locale::classic());  // no separators of thousands
    text << '[';
    for (size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
    text << ']';
    return text.str();
}

void list(std::ostream& out, const char* title, const std::vector<std::string>& names) {
    if (names.empty()) return;
    out << "\n  " << title << " (" << names.size() << "):";
    for (size_t i = 0; i < names.size() && i < kNamesShown; ++i) out << "\n    " << names[i];
    if (names.size() > kNamesShown) out << "\n    and " << names.size() - kNamesShown << " more";
}

}  // namespace

at::Tensor WeightReader::take(const std::string& name, std::vector<int64_t> shape) {
    used_.insert(name);
    asked_.emplace_back(name, shape);
    const auto found = weights_.find(name);
    if (found == weights_.end()) {
        missing_.push_back(name + " " + shapeText(shape));
    } else if (found->second.sizes() != at::IntArrayRef(shape)) {
        misshaped_.push_back(name + " is " + shapeText(found->second.sizes().vec()) + ", not " +
                             shapeText(shape));
    } else {
        return found->second;
    }
    return at::zeros({1}).expand(shape);  // never used: finish() refuses the network
}

bool WeightReader::isAbsent(const at::Tensor& weight) {
    return weight.numel() > 1 && weight.storage().nbytes() == weight.itemsize();
}

void WeightReader::finish(const std::string& what) const {
    std::vector<std::string> extra;
    for (const auto& [name, tensor] : weights_)
        if (!used_.contains(name)) extra.push_back(name);
    if (missing_.empty() && misshaped_.empty() && extra.empty()) return;
    std::ostringstream text;
    text.imbue(std::locale::classic());  // no separators of thousands
    text << what << ": the weights do not fit the configuration";
    list(text, "missing", missing_);
    list(text, "wrong shape", misshaped_);
    list(text, "unexpected", extra);
    throw ModelError(text.str());
}

}  // namespace atlas::engine
