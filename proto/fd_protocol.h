// The wire format of fd.sock, where a ticket is exchanged for a file descriptor, and where clients hand descriptors
// back to a daemon that was restarted (Welcome.hand_back).
//
// SOCK_SEQPACKET, so that one send is one message. A client sends FdRequest; the daemon answers each with one FdReply,
// which carries exactly one descriptor (SCM_RIGHTS) if a ticket was redeemed and none otherwise. A connection may be
// used for any number of requests, one after the other. The daemon closes a connection that sends anything but a whole
// FdRequest, sends descriptors where none is asked for, or is silent for kFdIdleTimeoutMs. Integers are in host byte
// order: the socket never leaves the machine.
#ifndef A8A_PROTO_FD_PROTOCOL_H_
#define A8A_PROTO_FD_PROTOCOL_H_

#include <cstdint>

namespace a8a {

inline constexpr std::uint32_t kFdMagic = 0x61386166;  // "a8af"
inline constexpr int kTicketBytes = 16;
inline constexpr int kFdIdleTimeoutMs = 5000;
inline constexpr int kFdMessageBytes = 192;

// File names in the runtime directory.
inline constexpr char kGrpcSocketName[] = "a8a.sock";
inline constexpr char kFdSocketName[] = "fd.sock";
inline constexpr char kLockFileName[] = "a8a.pid";
inline constexpr char kDefaultRuntimeDir[] = "/run/a8a";
// Hello.protocol_version.
inline constexpr std::uint32_t kProtocolVersion = 1;

// What a client asks for, and what FdRequest.argument holds then.
enum class FdRequestKind : std::uint32_t {
  kRedeem = 0,           // the ticket
  kHandBackBuffer = 1,   // FdHandBack of an own lease; the message carries the descriptor of its memory
  kHandBackControl = 2,  // FdHandBack of a group; the message carries the descriptor of its control segment
  kHandBackDone = 3,     // zeros: what was not handed back, the session does not hold
};

struct FdRequest {
  std::uint32_t magic;
  FdRequestKind kind;
  std::uint64_t session_id;
  std::uint8_t argument[kTicketBytes];
};
static_assert(sizeof(FdRequest) == 32);

struct FdHandBack {
  std::uint64_t id;          // of the buffer or the group
  std::uint64_t generation;  // of the lease; 0 for a group
};
static_assert(sizeof(FdHandBack) == kTicketBytes);

// code is an absl::StatusCode: OK; NOT_FOUND (no such ticket: never issued, used, or expired); UNAVAILABLE (the daemon
// that issued it is no more); PERMISSION_DENIED (the ticket belongs to another session, or the session to another
// process); INVALID_ARGUMENT (not an FdRequest, then the connection ends; or the descriptor handed back is not the
// right one); FAILED_PRECONDITION (the session has nothing to hand back); RESOURCE_EXHAUSTED (the caller has too many
// connections or descriptors, then the connection ends; or the daemon has no descriptor left). The daemon's options may
// keep a uid out: PERMISSION_DENIED before any request, then the connection ends.
struct FdReply {
  std::uint32_t magic;
  std::int32_t code;
  std::int64_t size_bytes;        // of the memory behind the descriptor
  char message[kFdMessageBytes];  // NUL-terminated, for the error
};

}  // namespace a8a

#endif  // A8A_PROTO_FD_PROTOCOL_H_
