// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "engine/nn/notice.h"

namespace atlas::engine::test {

/// Hears what notice() says while alive, in place of standard error.
class Listener {
  public:
    Listener() : before_(setNoticeSink([this](const std::string& s) { said.push_back(s); })) {}
    ~Listener() { setNoticeSink(before_); }
    std::string all() const {
        std::string text;
        for (const auto& sentence : said) text += sentence + "\n";
        return text;
    }
    std::vector<std::string> said;

    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

  private:
    NoticeSink before_;
};

}  // namespace atlas::engine::test
