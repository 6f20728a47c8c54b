// Swipes that the gateway has not acknowledged yet, and what is said of them. Used by reader.yaml; needs nothing of
// ESPHome, so that any C++17 compiler takes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>

namespace rollcall {

// A swipe is said again after so long without an acknowledgement.
constexpr int64_t AGAIN_AFTER_MS = 2000;
// It is called historical when its card is gone for so long.
constexpr int64_t HISTORICAL_AFTER_MS = 10000;
// As many are kept; when there are more, new cards are not taken (the light then stays as it is).
constexpr size_t MOST = 500;

struct Swipe {
  uint32_t seq;
  std::string uid;   // hexadecimal digits
  int64_t read_ms;   // since the reader's start
  int64_t said_ms;   // when it was said last; 0 for never
};

class Swipes {
 public:
  // The name of this start: another one each time, so that sequence numbers may begin again.
  void begin(uint32_t random) {
    char name[16];
    snprintf(name, sizeof name, "b%08lx", static_cast<unsigned long>(random));
    boot_ = name;
  }

  const std::string &boot() const { return boot_; }

  // A card was held to the reader. The same card again within a second is one swipe.
  void card(const std::string &uid, int64_t now_ms) {
    if (uid == last_uid_ && now_ms - last_ms_ < 1000) {
      last_ms_ = now_ms;
      return;
    }
    last_uid_ = uid;
    last_ms_ = now_ms;
    if (waiting_.size() >= MOST) return;
    waiting_.push_back({++seq_, uid, now_ms, 0});
    read_ms_[seq_ % RECENT] = now_ms;
  }

  // The gateway has it on its disk.
  void acknowledged(const std::string &boot, uint32_t seq) {
    if (boot != boot_) return;
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it->seq == seq) {
        waiting_.erase(it);
        return;
      }
    }
  }

  // A new connection: everything that waits is said again at once.
  void connected() {
    for (auto &swipe : waiting_) swipe.said_ms = 0;
  }

  // The next message that is due; empty when there is none.
  std::string due(int64_t now_ms) {
    for (auto &swipe : waiting_) {
      if (swipe.said_ms != 0 && now_ms - swipe.said_ms < AGAIN_AFTER_MS) continue;
      swipe.said_ms = now_ms;
      char text[256];
      snprintf(text, sizeof text,
               "{\"boot\":\"%s\",\"seq\":%lu,\"uid\":\"%s\",\"bits\":%u,\"mono_ms\":%lld,\"historical\":%s}",
               boot_.c_str(), static_cast<unsigned long>(swipe.seq), swipe.uid.c_str(),
               static_cast<unsigned>(swipe.uid.size() * 4), static_cast<long long>(swipe.read_ms),
               now_ms - swipe.read_ms > HISTORICAL_AFTER_MS ? "true" : "false");
      return text;
    }
    return "";
  }

  // Whether a flash for a swipe still greets the one who held the card there.
  bool is_fresh(uint32_t seq, int64_t ttl_ms, int64_t now_ms) const {
    return seq_ - seq < RECENT && now_ms - read_ms_[seq % RECENT] <= ttl_ms;
  }

  size_t waiting() const { return waiting_.size(); }

 private:
  std::string boot_;
  uint32_t seq_ = 0;
  std::string last_uid_;
  int64_t last_ms_ = 0;
  std::deque<Swipe> waiting_;
  static constexpr uint32_t RECENT = 16;
  int64_t read_ms_[RECENT] = {};
};

// The swipes of this reader.
inline Swipes &swipes() {
  static Swipes one;
  return one;
}

// "04-A2-B3" as ESPHome gives it, without what is no digit.
inline std::string digits(const std::string &tag) {
  std::string found;
  for (char letter : tag) {
    if (letter != '-' && letter != ' ') found.push_back(letter);
  }
  return found;
}

}  // namespace rollcall
