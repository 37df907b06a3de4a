// SPDX-License-Identifier: Apache-2.0
// A locale with a decimal comma for the life of an object: C's, and that of C++'s streams.
#pragma once

#include <gtest/gtest.h>

#include <clocale>
#include <cstdlib>
#include <locale>
#include <string>

namespace atlas::test {

constexpr const char* kCommaLocale = "de_DE.UTF-8";

/// Fails the test where the locale is missing, as nothing would be proved then.
class CommaLocale {
  public:
    CommaLocale() : c_(std::setlocale(LC_ALL, nullptr)), streams_(std::locale()) {
        if (!std::setlocale(LC_ALL, kCommaLocale)) {
            ADD_FAILURE() << "there is no locale " << kCommaLocale
                          << "; installer/setup.sh deps makes it";
            return;
        }
        std::locale::global(std::locale(kCommaLocale));
        EXPECT_STREQ(std::localeconv()->decimal_point, ",");
        EXPECT_EQ(std::strtod("0.5", nullptr), 0) << "the locale does not reach strtod";
    }
    ~CommaLocale() {
        std::locale::global(streams_);
        std::setlocale(LC_ALL, c_.c_str());
    }
    CommaLocale(const CommaLocale&) = delete;
    CommaLocale& operator=(const CommaLocale&) = delete;

  private:
    std::string c_;
    std::locale streams_;
};

}  // namespace atlas::test
