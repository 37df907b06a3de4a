// SPDX-License-Identifier: Apache-2.0
// A web server of one file on this machine, with range requests, that counts what it sends.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace atlas::test {

class HttpServer {
  public:
    explicit HttpServer(std::string body) : body_(std::move(body)) {
        listener_ = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
            listen(listener_, 16) != 0 ||
            getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
            throw std::runtime_error("no local server");
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ~HttpServer() {
        shutdown(listener_, SHUT_RDWR);
        close(listener_);
        thread_.join();
    }
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    std::string url(const std::string& name) const {
        return "http://127.0.0.1:" + std::to_string(port_) + "/" + name;
    }
    size_t sent() const { return sent_; }
    /// From now on every answer is an error.
    void breakDown() { broken_ = true; }

  private:
    void serve() {
        for (;;) {
            const int client = accept(listener_, nullptr, nullptr);
            if (client < 0) return;
            answer(client);
            close(client);
        }
    }

    void answer(int client) {
        std::string request;
        char buffer[4096];
        while (request.find("\r\n\r\n") == std::string::npos) {
            const ssize_t got = recv(client, buffer, sizeof buffer, 0);
            if (got <= 0) return;
            request.append(buffer, static_cast<size_t>(got));
        }
        const std::string path = request.substr(0, request.find("\r\n"));
        if (broken_ || path.find(".tif ") == std::string::npos) {
            const char* text =
                broken_
                    ? "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    : "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            write(client, text);
            return;
        }
        size_t first = 0, last = body_.size() - 1;
        bool part = false;
        for (const char* name : {"Range: bytes=", "range: bytes="}) {
            const auto at = request.find(name);
            if (at == std::string::npos) continue;
            unsigned long long from = 0, to = body_.size() - 1;
            part = std::sscanf(request.c_str() + at + 13, "%llu-%llu", &from, &to) >= 1;
            first = std::min<size_t>(from, body_.size() - 1);
            last = std::min<size_t>(to, body_.size() - 1);
        }
        std::string head = part ? "HTTP/1.1 206 Partial Content\r\n" : "HTTP/1.1 200 OK\r\n";
        if (part)
            head += "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(last) +
                    "/" + std::to_string(body_.size()) + "\r\n";
        head += "Accept-Ranges: bytes\r\nConnection: close\r\nContent-Length: " +
                std::to_string(last - first + 1) + "\r\n\r\n";
        write(client, head);
        if (request.starts_with("HEAD")) return;
        sent_ += last - first + 1;
        write(client, body_.substr(first, last - first + 1));
    }

    static void write(int client, const std::string& text) {
        size_t done = 0;
        while (done < text.size()) {
            const ssize_t sent = send(client, text.data() + done, text.size() - done, MSG_NOSIGNAL);
            if (sent <= 0) return;
            done += static_cast<size_t>(sent);
        }
    }

    std::string body_;
    int listener_ = -1, port_ = 0;
    std::atomic<size_t> sent_{0};
    std::atomic<bool> broken_{false};
    std::thread thread_;
};

}  // namespace atlas::test
