/* Deadlines on one channel, for the model checker spin: two senders and their receiver, any of which may be as late as it
 * likes and may give up each wait at any instant, over EPOCHS operations, prepared and one-shot, on two windows. The rows
 * of an epoch come from one of the senders, those of the next from either, to the same place. README.md maps the names.
 *
 * What must hold:
 *   - an all-to-all that the receiver calls good has the rows of its epoch, and they stay until they are read: the
 *     assertion in consume(). A sender that was given up in the middle of its copy stores the rest whenever it likes.
 *   - nothing waits for ever, deadlines or not: no invalid end state; and without deadlines (-DDEADLINES=0)
 *     every all-to-all is good
 *
 * -DBUG_... seeds a bug that must be found. */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define SENDERS 2
#define PIECES 2  /* of a copy */

mtype = {PREPARED, ONE_SHOT};
mtype kind_of[EPOCHS + 1];
byte window_of[EPOCHS + 1];
byte sender_of[EPOCHS + 1];

#define SLOT(epoch, sender) (((epoch) % 2) * SENDERS + (sender))

/* A ticket is an epoch and a state. */
#define WRITING 0
#define OPEN 1
#define CLAIMED 2
#define REVOKED 3
#define TICKET(epoch, state) ((epoch) * 4 + (state))
byte ticket[2 * SENDERS];

byte done[2 * SENDERS];  /* of a sender to the receiver: 2 * epoch, and 1 if the rows are there */
byte said[2 * SENDERS];  /* of the receiver to a sender, of the rows that it does not send: the epoch */

byte window[2 * PIECES];  /* the epoch whose rows lie there */

/* How many waits are given up while they could still end otherwise, whichever and whenever. One that cannot is given up
 * in any case, but with DEADLINES 0: then there is no such wait. */
#ifndef DEADLINES
#define DEADLINES 2
#endif
byte deadlines = DEADLINES;
#if DEADLINES > 0
#define GIVES_UP(waits) atomic {(waits) && (deadlines > 0 || timeout) -> if :: deadlines > 0 -> deadlines-- :: else -> skip fi}
#else
#define GIVES_UP(waits) false
#endif

#define NEEDS_CREDIT(epoch, last_window) (kind_of[epoch] == ONE_SHOT || window_of[epoch] == last_window)

proctype Sender(byte me) {
  byte epoch = 1;
  byte last_window = 2;
  byte seen;
  byte piece;
  bool credits;
  do
  :: epoch <= EPOCHS ->
    credits = NEEDS_CREDIT(epoch, last_window);
    last_window = window_of[epoch];
turn:
    seen = ticket[SLOT(epoch, me)];
    if
    :: seen == TICKET(epoch, OPEN) -> goto claim
    :: seen < TICKET(epoch, OPEN) && !credits && seen != TICKET(epoch, WRITING) ->
#ifndef BUG_PEER_BEHIND_NOT_LOOKED_AT
      if
      :: sender_of[epoch] != me || said[SLOT(epoch - 1, me)] >= epoch - 1 -> goto claim
      :: ticket[SLOT(epoch, me)] != seen -> goto turn
      :: GIVES_UP(true) -> goto fail
      fi
#else
      goto claim
#endif
    :: seen > TICKET(epoch, OPEN) -> goto fail  /* revoked, or of a later epoch */
    :: ticket[SLOT(epoch, me)] != seen -> goto turn
    :: GIVES_UP(true) -> goto fail
    fi;
claim:
#ifdef BUG_CLAIM_BY_A_STORE
    ticket[SLOT(epoch, me)] = TICKET(epoch, CLAIMED);
#else
    if
    :: atomic {ticket[SLOT(epoch, me)] == seen -> ticket[SLOT(epoch, me)] = TICKET(epoch, CLAIMED)}
    :: atomic {ticket[SLOT(epoch, me)] != seen -> goto turn}
    fi;
#endif
    if
    :: sender_of[epoch] == me ->
      piece = 0;
      do
      :: piece < PIECES -> window[window_of[epoch] * PIECES + piece] = epoch; piece++
      :: else -> break
      od
    :: else -> skip
    fi;
    done[SLOT(epoch, me)] = 2 * epoch + 1;
    goto receive;
fail:
    done[SLOT(epoch, me)] = 2 * epoch;
receive:
    if
    :: said[SLOT(epoch, me)] >= epoch
    :: GIVES_UP(true)
    fi;
    epoch++
  :: else -> break
  od
}

/* The receiver opens a credit, unless the sender has claimed the epoch without one. */
inline publish(sender) {
  atomic {
    seen = ticket[SLOT(epoch, sender)];
    ticket[SLOT(epoch, sender)] = TICKET(epoch, WRITING)
  };
  if
  :: seen == TICKET(epoch, CLAIMED) -> ticket[SLOT(epoch, sender)] = TICKET(epoch, CLAIMED)
  :: else -> ticket[SLOT(epoch, sender)] = TICKET(epoch, OPEN)
  fi
}

inline consume() {
  piece = 0;
  do
  :: piece < PIECES -> assert(window[window_of[epoch] * PIECES + piece] == epoch); piece++
  :: else -> break
  od
}

#define HAS_COME(s) (done[SLOT(epoch, s)] >= 2 * epoch)
#define IS_GOOD(s) (done[SLOT(epoch, s)] == 2 * epoch + 1)

proctype Receiver() {
  byte epoch = 1;
  byte last_window = 2;
  byte unsettled = 0;
  byte seen;
  byte piece;
  byte s;
  bool credits;
  bool good;
  byte waits;  /* for these senders, as bits */
  do
  :: epoch <= EPOCHS ->
    credits = NEEDS_CREDIT(epoch, last_window);
    last_window = window_of[epoch];
#ifndef BUG_NOT_SETTLED
    if
    :: unsettled != 0 ->
      s = 0;
      do
      :: s < SENDERS ->
        if
        :: ticket[SLOT(unsettled, s)] != TICKET(unsettled, CLAIMED) || done[SLOT(unsettled, s)] >= 2 * unsettled -> s++
        :: GIVES_UP(true) -> goto next
        fi
      :: else -> break
      od;
      unsettled = 0
    :: else -> skip
    fi;
#endif
    if
    :: credits ->
#ifndef BUG_CREDIT_DROPPED
      publish(0);
#endif
      publish(1)
    :: else -> skip
    fi;
    said[SLOT(epoch, 0)] = epoch;
    said[SLOT(epoch, 1)] = epoch;
    good = true;
    waits = 0;
    s = 0;
    do
    :: s < SENDERS ->
      if
      :: HAS_COME(s) -> good = good && IS_GOOD(s)
      :: GIVES_UP(true) -> waits = waits | (1 << s)
      fi;
      s++
    :: else -> break
    od;
    /* Gives up those that have not come: a ticket that it can revoke is one that no sender stores by. */
    s = 0;
    do
    :: s < SENDERS ->
      if
      :: waits & (1 << s) ->
revoke:
        seen = ticket[SLOT(epoch, s)];
        if
        :: seen == TICKET(epoch, CLAIMED) || seen > TICKET(epoch, REVOKED) -> skip
        :: else ->
#ifdef BUG_REVOKED_BY_A_STORE
          ticket[SLOT(epoch, s)] = TICKET(epoch, REVOKED);
#else
          if
          :: atomic {ticket[SLOT(epoch, s)] == seen -> ticket[SLOT(epoch, s)] = TICKET(epoch, REVOKED)}
          :: atomic {ticket[SLOT(epoch, s)] != seen -> goto revoke}
          fi;
#endif
          waits = waits & ~(1 << s);
          good = false
        fi
      :: else -> skip
      fi;
      s++
    :: else -> break
    od;
    /* A sender that has claimed is in its copy: some grace, then its epoch is to be settled later. */
    s = 0;
    do
    :: s < SENDERS ->
      if
      :: !(waits & (1 << s)) -> skip
      :: (waits & (1 << s)) && HAS_COME(s) -> good = good && IS_GOOD(s)
      :: GIVES_UP(waits & (1 << s)) -> good = false; unsettled = epoch
      fi;
      s++
    :: else -> break
    od;
    if
    :: good -> consume()
    :: else -> assert(DEADLINES > 0)
    fi;
next:
    epoch++
  :: else -> break
  od
}

init {
  byte e = 1;
  atomic {
    do
    :: e <= EPOCHS ->
      /* The first epoch's names are as good as the others. */
      if :: window_of[e] = 0 :: e > 1 -> window_of[e] = 1 fi;
      if :: sender_of[e] = 0 :: e > 1 -> sender_of[e] = 1 fi;
      if :: kind_of[e] = PREPARED :: kind_of[e] = ONE_SHOT fi;
      e++
    :: else -> break
    od;
    run Receiver();
    run Sender(0);
    run Sender(1)
  }
}
