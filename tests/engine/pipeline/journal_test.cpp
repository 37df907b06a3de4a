// SPDX-License-Identifier: Apache-2.0
// What a run has answered comes back as it was; what is torn, damaged or hostile is left out.
#include "engine/pipeline/journal.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

ContextResult answer(float value, int64_t side = 2, size_t values = 4) {
    ContextResult result;
    result.probabilities = {value, 1 - value};
    result.received = {{side, std::vector<float>(values, value)}};
    return result;
}

std::vector<int64_t> replayed(const fs::path& folder, const std::string& token = "reader") {
    std::vector<int64_t> contexts;
    Journal(folder, token,
            [&](int64_t context, const ContextResult&) { contexts.push_back(context); });
    fs::remove(folder / ("journal-" + token));
    return contexts;
}

TEST(Journal, GivesBackWhatEveryWriterWrote) {
    const test::TemporaryFolder folder;
    {
        Journal first(folder.path(), "a", [](int64_t, const ContextResult&) {});
        first.append(7, answer(0.25f));
    }
    Journal second(folder.path(), "b", [](int64_t context, const ContextResult& result) {
        EXPECT_EQ(context, 7);
        EXPECT_EQ(result.probabilities[0], 0.25f);
    });
    second.append(3, answer(0.75f));
    EXPECT_EQ(second.read(7).received[0].values, (std::vector<float>(4, 0.25f)));
    EXPECT_EQ(second.read(3).probabilities[0], 0.75f);
    EXPECT_THROW(second.read(4), std::runtime_error);
    EXPECT_EQ(replayed(folder.path()), (std::vector<int64_t>{7, 3}));
}

TEST(Journal, ATornRecordIsLeftOutAtEveryLength) {
    const test::TemporaryFolder folder;
    {
        Journal journal(folder.path(), "a", [](int64_t, const ContextResult&) {});
        journal.append(1, answer(0.5f));
        journal.append(2, answer(0.5f));
    }
    const auto path = folder.path() / "journal-a";
    const auto size = fs::file_size(path);
    for (auto cut = size - 1; cut >= size / 2; cut -= 3) {
        fs::resize_file(path, cut);
        EXPECT_EQ(replayed(folder.path()), (std::vector<int64_t>{1})) << cut;
    }
}

TEST(Journal, AMapWhoseSideIsNotThatOfItsValuesIsDamaged) {
    const test::TemporaryFolder folder;
    for (const int64_t side : {int64_t{3}, int64_t{-2}, int64_t{1} << 60, int64_t{65537}}) {
        {
            Journal journal(folder.path(), "a", [](int64_t, const ContextResult&) {});
            journal.append(1, answer(0.5f, side));
        }
        EXPECT_TRUE(replayed(folder.path()).empty()) << side;
        fs::remove(folder.path() / "journal-a");
    }
}

TEST(Journal, ALengthBeyondTheFileAllocatesNothing) {
    const test::TemporaryFolder folder;
    {
        Journal journal(folder.path(), "a", [](int64_t, const ContextResult&) {});
        journal.append(1, answer(0.5f));
    }
    std::fstream file(folder.path() / "journal-a", std::ios::binary | std::ios::in | std::ios::out);
    const uint64_t huge = (uint64_t{1} << 30) - 1;
    file.seekp(16);  // the record's length (see Header)
    file.write(reinterpret_cast<const char*>(&huge), sizeof huge);
    file.close();
    EXPECT_TRUE(replayed(folder.path()).empty());
}

}  // namespace
}  // namespace atlas::engine
