// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/run_claim.h"

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>

#include "engine/pipeline/process_identity.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kTextBytes = 1024;  // every text is as long, so that it is overwritten in place
constexpr const char* kOwner = "owner-";

std::string newToken() {
    std::random_device device;
    std::ostringstream text;
    text << std::hex;
    for (int i = 0; i < 4; ++i) text << device();
    return text.str();
}

std::string textOf(const ProcessIdentity& process, uint64_t beats) {
    std::string text = nlohmann::json{
        {"host", process.host},
        {"process", process.pid},
        {"space", process.space},
        {"started", process.started},
        {"heartbeat",
         beats}}.dump();
    text.resize(kTextBytes - 1, ' ');
    return text + '\n';
}

/// Overwrites a file that is there; false where it is not. It is never made anew: its name is the
/// claim.
bool overwrite(const fs::path& path, const std::string& text) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    file.flush();
    return static_cast<bool>(file);
}

struct Owner {
    fs::path file;
    std::string text;
    ProcessIdentity process;
    std::string name() const {
        return process.host.empty() ? std::string("another process")
                                    : process.host + ", process " + std::to_string(process.pid);
    }
};

/// Nothing where the claim is being given back just now.
std::optional<Owner> ownerOf(const fs::path& folder) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (!entry.path().filename().string().starts_with(kOwner)) continue;
        Owner owner{entry.path(), {}, {}};
        std::ifstream file(owner.file, std::ios::binary);
        owner.text.assign(std::istreambuf_iterator<char>(file), {});
        const auto json = nlohmann::json::parse(owner.text, nullptr, false);
        if (json.is_object()) try {  // a torn text is one that moves
                owner.process = {json.at("host"), json.at("space"), json.at("process"),
                                 json.at("started")};
            } catch (const nlohmann::json::exception&) {
            }
        return owner;
    }
    return {};
}

/// A prepared folder, removed again unless it became the claim.
class Prepared {
  public:
    Prepared(const fs::path& folder, const std::string& token)
        : path_(folder.string() + ".new-" + token) {
        fs::create_directories(path_);
        std::ofstream file(path_ / (kOwner + token), std::ios::binary);
        file << textOf(thisProcess(), 0);
        file.close();
        if (!file)
            throw std::runtime_error(path_.string() + ": cannot be written (is the disk full?)");
    }
    ~Prepared() {
        std::error_code ignored;
        if (!path_.empty()) fs::remove_all(path_, ignored);
    }
    /// False where a claim is there.
    bool becomes(const fs::path& folder) {
        std::error_code error;
        fs::rename(path_, folder, error);
        if (!error) {
            path_.clear();
            return true;
        }
        if (fs::exists(folder)) return false;
        if (error == std::errc::directory_not_empty || error == std::errc::file_exists)
            return false;  // it was there, and was given back meanwhile
        throw std::runtime_error(folder.string() + ": cannot be made: " + error.message());
    }

  private:
    fs::path path_;
};

}  // namespace

std::unique_ptr<RunClaim> RunClaim::take(const fs::path& folder, const Waiting& waiting,
                                         const Options& options) {
    const std::string token = newToken();
    Prepared prepared(folder, token);
    std::string seen;
    auto seenSince = Clock::now();
    for (;;) {
        if (prepared.becomes(folder))
            return std::unique_ptr<RunClaim>(new RunClaim(folder, token, false, options));
        const auto owner = ownerOf(folder);
        if (!owner) {
            std::error_code ignored;
            fs::remove(folder, ignored);  // an empty folder is no claim
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            continue;
        }
        if (const std::string now = owner->file.string() + owner->text; now != seen) {
            seen = now;
            seenSince = Clock::now();
        }
        const bool gone = isSurelyGone(owner->process);
        if (gone || Clock::now() - seenSince >= options.stale) {
            std::error_code error;
            fs::rename(owner->file, folder / (kOwner + token), error);
            if (fs::exists(folder / (kOwner + token))) {
                overwrite(folder / (kOwner + token), textOf(thisProcess(), 0));
                return std::unique_ptr<RunClaim>(new RunClaim(folder, token, !gone, options));
            }
            continue;  // somebody else was first
        }
        if (!waiting(owner->name())) return nullptr;
        std::this_thread::sleep_for(options.poll);
    }
}

RunClaim::RunClaim(fs::path folder, std::string token, bool formerOwnerMayWake,
                   const Options& options)
    : folder_(std::move(folder)),
      file_(folder_ / (kOwner + token)),
      token_(std::move(token)),
      formerOwnerMayWake_(formerOwnerMayWake),
      heart_([this, every = options.heartbeat](const std::stop_token& end) { beat(end, every); }) {}

RunClaim::~RunClaim() {
    heart_.request_stop();
    heart_.join();
    std::error_code ignored;
    if (fs::remove(file_, ignored)) fs::remove(folder_, ignored);
}

void RunClaim::beat(const std::stop_token& end, std::chrono::milliseconds every) {
    const ProcessIdentity process = thisProcess();
    std::mutex mutex;
    std::condition_variable_any never;
    for (uint64_t beats = 1; !end.stop_requested(); ++beats) {
        overwrite(file_, textOf(process, beats));
        std::unique_lock lock(mutex);
        never.wait_for(lock, end, every, [] { return false; });
    }
}

void RunClaim::check() const {
    if (std::ifstream(file_, std::ios::binary)) return;
    const auto owner = ownerOf(folder_);
    throw ClaimLost(folder_.string() + ": " +
                    (owner ? owner->name() : std::string("another process")) +
                    " took this run over while this process did not answer; its results are kept, "
                    "and this process writes no more");
}

}  // namespace atlas::engine
