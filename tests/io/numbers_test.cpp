// SPDX-License-Identifier: Apache-2.0
// Numbers as text under a locale with a decimal comma; the system's strtod and printf fail there.
#include "io/numbers.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "tests/support/comma_locale.h"

namespace atlas::io {
namespace {

class Numbers : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        if (GetParam()) comma_ = std::make_unique<test::CommaLocale>();
    }
    std::unique_ptr<test::CommaLocale> comma_;
};

TEST_P(Numbers, OfFilesHaveAPoint) {
    EXPECT_EQ(parseNumber("0.499"), 0.499);
    EXPECT_EQ(parseNumber(" +0.499\r\n"), 0.499);
    EXPECT_EQ(parseNumber("-1.5e-3"), -0.0015);
    EXPECT_EQ(parseNumber(".5"), 0.5);
    EXPECT_TRUE(std::isnan(*parseNumber("nan")));
    for (const char* text : {"", " ", "0,499", "1.5 um", "x", "+", "+-1", "0x10", "1e999", "1 2"})
        EXPECT_FALSE(parseNumber(text)) << text;
}

TEST_P(Numbers, ThatAPersonTypesHaveAPointOrAComma) {
    for (const char* text : {"0.3", "0,3", " 0,3 ", "+0,3", ",3", "3e-1", "3,0e-1"})
        EXPECT_EQ(parseTypedNumber(text), 0.3) << text;
    EXPECT_EQ(parseTypedNumber("-0,25"), -0.25);
    for (const char* text : {"", ",", "1.234,5", "1,234.5", "0,3,4", "0.3m", "nan", "inf"})
        EXPECT_FALSE(parseTypedNumber(text)) << text;
}

TEST_P(Numbers, AreTakenFromTheFrontOfAText) {
    std::string_view rest = " 0,3 m";
    EXPECT_EQ(takeTypedNumber(rest), 0.3);
    EXPECT_EQ(rest, " m");
    rest = "1.5,2";
    EXPECT_EQ(takeNumber(rest), 1.5);
    EXPECT_EQ(rest, ",2");
    rest = "m 3";
    EXPECT_FALSE(takeNumber(rest));
    EXPECT_FALSE(takeTypedNumber(rest));
    EXPECT_EQ(rest, "m 3");
}

TEST_P(Numbers, AreWrittenAsTheCLocaleWritesThem) {
    EXPECT_EQ(formatNumber(0.3), "0.3");
    EXPECT_EQ(formatSignificant(1.0 / 3, 7), "0.3333333");
    EXPECT_EQ(formatSignificant(1234567890, 3), "1.23e+09");
    EXPECT_EQ(formatFixed(99.95, 1), "100.0");  // 99.95 is a little more than that
    EXPECT_EQ(formatFixed(0.125, 2), "0.12");   // halfway, to the even digit
    EXPECT_EQ(formatFixed(-1e300, 0).size(), 302u);
    EXPECT_EQ(formatFixed(std::nan(""), 2), "nan");
    EXPECT_EQ(formatText("%s: %5.1f %%, %+.2e, %d", "\xc2\xb5m", 1.25, 0.5, 7),
              "\xc2\xb5m:   1.2 %, +5.00e-01, 7");
    const std::string name(5000, 'x');
    EXPECT_EQ(formatText("%s %.1f", name.c_str(), 0.5), name + " 0.5");
}

TEST_P(Numbers, ReadBackAsTheyWere) {
    std::mt19937_64 random(7);
    for (int i = 0; i < 20000; ++i) {
        const auto value = std::bit_cast<double>(uint64_t{random()});
        if (!std::isfinite(value)) continue;
        ASSERT_EQ(parseNumber(formatNumber(value)), value);
        ASSERT_EQ(parseNumber(formatSignificant(value, 17)), value);
    }
    for (const double value : {std::numeric_limits<double>::max(), 5e-324, -0.0, 0.1 + 0.2})
        EXPECT_EQ(parseNumber(formatNumber(value)), value);
}

INSTANTIATE_TEST_SUITE_P(Locales, Numbers, testing::Bool(), [](const auto& locale) {
    return locale.param ? "DecimalComma" : "Classic";
});

}  // namespace
}  // namespace atlas::io
