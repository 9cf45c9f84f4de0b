// gMock matchers for absl::Status and absl::StatusOr: IsOk(), IsOkAndHolds(m), StatusIs(code) and
// StatusIs(code, message matcher). The distribution's Abseil has none.
//
//   EXPECT_THAT(core.Detach(caller, 7), StatusIs(absl::StatusCode::kNotFound, HasSubstr("session 7")));
//   EXPECT_THAT(Parse("3"), IsOkAndHolds(3));
#ifndef A8A_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define A8A_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace a8a {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

MATCHER_P2(StatusIs, code, message_matcher,
           (negation ? "has not code " : "has code ") + absl::StatusCodeToString(code) + " and a message that " +
               ::testing::DescribeMatcher<std::string>(message_matcher)) {
  const absl::Status& status = GetStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code && ::testing::Matches(message_matcher)(std::string(status.message()));
}

inline auto StatusIs(absl::StatusCode code) { return StatusIs(code, ::testing::_); }

// Polymorphic over StatusOr<T>; the inner matcher is bound to T only when it is used.
template <typename Inner>
class IsOkAndHoldsMatcher {
 public:
  explicit IsOkAndHoldsMatcher(Inner inner) : inner_(std::move(inner)) {}

  template <typename StatusOrT>
  operator ::testing::Matcher<StatusOrT>() const {  // NOLINT(google-explicit-constructor): how gMock binds matchers
    return ::testing::Matcher<StatusOrT>(new Impl<StatusOrT>(inner_));
  }

 private:
  template <typename StatusOrT>
  class Impl : public ::testing::MatcherInterface<StatusOrT> {
   public:
    using Value = typename std::decay_t<StatusOrT>::value_type;
    explicit Impl(const Inner& inner) : inner_(::testing::SafeMatcherCast<const Value&>(inner)) {}

    void DescribeTo(std::ostream* os) const override {
      *os << "is OK and holds a value that ";
      inner_.DescribeTo(os);
    }
    void DescribeNegationTo(std::ostream* os) const override {
      *os << "is not OK or holds a value that ";
      inner_.DescribeNegationTo(os);
    }
    bool MatchAndExplain(StatusOrT actual, ::testing::MatchResultListener* listener) const override {
      if (actual.ok()) return inner_.MatchAndExplain(*actual, listener);
      *listener << actual.status().ToString();
      return false;
    }

   private:
    const ::testing::Matcher<const Value&> inner_;
  };

  Inner inner_;
};

template <typename Inner>
IsOkAndHoldsMatcher<std::decay_t<Inner>> IsOkAndHolds(Inner&& inner) {
  return IsOkAndHoldsMatcher<std::decay_t<Inner>>(std::forward<Inner>(inner));
}

}  // namespace a8a

// Moves the value of a StatusOr into `lhs`, which may declare a variable; ends the test if there is none.
#define A8A_TEST_CONCAT2(a, b) a##b
#define A8A_TEST_CONCAT(a, b) A8A_TEST_CONCAT2(a, b)
#define A8A_TEST_ASSIGN(temporary, lhs, expression)  \
  auto temporary = (expression);                     \
  ASSERT_TRUE(temporary.ok()) << temporary.status(); \
  lhs = *std::move(temporary)
#define A8A_ASSERT_OK_AND_ASSIGN(lhs, expression) \
  A8A_TEST_ASSIGN(A8A_TEST_CONCAT(a8a_test_status_or_, __LINE__), lhs, expression)

#endif  // A8A_TESTS_SUPPORT_STATUS_MATCHERS_H_
