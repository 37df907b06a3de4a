// SPDX-License-Identifier: Apache-2.0
// The right to write a run folder: one process has it at a time, also on network folders without
// file locks.
//
// A claim is a folder `<run id>.claim` with one file `owner-<token>`, whose text names host and
// process and has a counter, the heartbeat, that the owner raises every two seconds. It is taken by
// renaming a prepared folder to that name, which fails where one is there. A claim is stale where
// its process is surely gone, or its heartbeat has not moved for 30 seconds of the watcher's own
// clock. A successor renames the stale `owner-<old token>` to its own `owner-<new token>`: the name
// is unique, so that of several successors only one succeeds, and a writer that wakes up later
// finds its own file gone.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

namespace atlas::engine {

/// Another process took the run over while this one did not answer.
class ClaimLost : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

class RunClaim {
  public:
    struct Options {
        std::chrono::milliseconds heartbeat{2000}, stale{30000}, poll{250};
    };
    /// Called while another process has the claim, about four times a second; `owner` is "host,
    /// process 123". False: gives up.
    using Waiting = std::function<bool(const std::string& owner)>;

    /// Takes the claim `folder`, or waits for it; null where `waiting` gave up. Throws
    /// std::runtime_error with path and cause where the file system refuses.
    static std::unique_ptr<RunClaim> take(const std::filesystem::path& folder,
                                          const Waiting& waiting, const Options& options);
    static std::unique_ptr<RunClaim> take(const std::filesystem::path& folder,
                                          const Waiting& waiting) {
        return take(folder, waiting, Options());
    }

    /// Gives the claim back, if it is still this one's.
    ~RunClaim();
    RunClaim(const RunClaim&) = delete;
    RunClaim& operator=(const RunClaim&) = delete;

    /// Throws ClaimLost where another process has taken the claim over.
    void check() const;

    /// Unique for each claim; names this writer's own files.
    const std::string& token() const { return token_; }

    /// The claim was taken from a process that may still be alive: files that it may have open must
    /// not be gone on with.
    bool formerOwnerMayWake() const { return formerOwnerMayWake_; }

  private:
    RunClaim(std::filesystem::path folder, std::string token, bool formerOwnerMayWake,
             const Options& options);
    void beat(const std::stop_token& end, std::chrono::milliseconds every);

    std::filesystem::path folder_, file_;
    std::string token_;
    bool formerOwnerMayWake_;
    std::jthread heart_;
};

}  // namespace atlas::engine
