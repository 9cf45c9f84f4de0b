/* The protocol of one channel, for the model checker spin: RANKS ranks run EPOCHS operations, one after the other, of every
 * kind and on every window, in every order that processes can take turns in. README.md maps the names to the code.
 *
 * What must hold:
 *   - no overwrite of unread output: the assertion in consume()
 *   - no flag of another epoch is taken for this one's, whichever is late: the assertion in AWAIT
 *   - no deadlock, and every wait ends: no invalid end state; with -DDEATH also after rank 0 has died at any instant
 *
 * -DBUG_... seeds a bug that must be found. */
#ifndef RANKS
#define RANKS 3
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif

#define CELL(owner, slot, from) ((owner) * 2 * RANKS + (slot) * RANKS + (from))
#define CELLS (RANKS * 2 * RANKS)

/* What the ranks have agreed on: the kind of each epoch, and its window. */
mtype = {PREPARED, ONE_SHOT, PREPARE};
mtype kind_of[EPOCHS + 1];
byte window_of[EPOCHS + 1];

/* Memory of the ranks. A window holds, for each sender, the epoch whose rows lie there. */
byte window[CELLS];  /* CELL(owner, window, sender) */
byte done[CELLS];    /* CELL(owner, epoch % 2, sender): the last epoch said */
byte ready[CELLS];   /* CELL(owner, epoch % 2, peer): a repeated window may be written */
byte offer[CELLS];   /* CELL(owner, epoch % 2, peer): of a one-shot or a Prepare */

bool aborted;  /* the abort word, written by the daemon */
bool dead;     /* somebody has died */

#ifdef BUG_EPOCH_NOT_COMPARED
#define IS_OF(flag, epoch) ((flag) != 0)
#else
#define IS_OF(flag, epoch) ((flag) >= (epoch))
#endif

/* Waits for a flag; the group's end is another way out. */
#ifdef BUG_ABORT_NOT_LOOKED_AT
#define AWAIT(flag, epoch) if :: atomic {IS_OF(flag, epoch) -> assert((flag) == (epoch))} fi
#else
#define AWAIT(flag, epoch) if :: atomic {IS_OF(flag, epoch) -> assert((flag) == (epoch))} :: aborted -> goto ended fi
#endif

#ifdef DEATH
#define MAY_DIE if :: !dead && me == 0 -> dead = true; goto killed :: true fi
#else
#define MAY_DIE skip
#endif

/* Reading the output, in stream order after its all-to-all. */
inline consume() {
  d_step {
    p = 0;
    do
    :: p < RANKS -> assert(window[CELL(me, window_of[epoch], p)] == epoch); p++
    :: else -> break
    od
  }
}

/* Tells every peer by `flags`, then waits for what they tell. */
#define TELL(flags) \
  p = 0; \
  do \
  :: p < RANKS && p != me -> flags[CELL(p, epoch % 2, me)] = epoch; p++ \
  :: p == me -> p++ \
  :: p == RANKS -> break \
  od
#define AWAIT_ALL(flags) \
  p = 0; \
  do \
  :: p < RANKS && p != me -> AWAIT(flags[CELL(me, epoch % 2, p)], epoch); p++ \
  :: p == me -> p++ \
  :: p == RANKS -> break \
  od

inline push() {
  p = 0;
  do
  :: p < RANKS -> window[CELL(p, window_of[epoch], me)] = epoch; p++
  :: p == RANKS -> break
  od
}

proctype Rank(byte me) {
  byte epoch = 1;
  byte last_window = 2;  /* that an all-to-all wrote; none */
  byte p;
  do
  :: epoch <= EPOCHS ->
    if
    :: kind_of[epoch] == PREPARE ->
      TELL(offer);
      AWAIT_ALL(offer)
#ifndef BUG_ONE_SHOT_WITHOUT_OFFER
    :: kind_of[epoch] == ONE_SHOT ->
      TELL(offer);
      AWAIT_ALL(offer)
#endif
#ifndef BUG_REPEATED_WINDOW_WITHOUT_READY
    :: kind_of[epoch] == PREPARED && window_of[epoch] == last_window ->
      TELL(ready);
      AWAIT_ALL(ready)
#endif
    :: else -> skip
    fi;
    MAY_DIE;
    if
    :: kind_of[epoch] == PREPARE -> TELL(done)  /* nobody waits for it: the offers have said that all have come */
    :: else ->
#ifdef BUG_DONE_BEFORE_ROWS
      TELL(done);
      push();
#else
      push();
      MAY_DIE;
      TELL(done);
#endif
      AWAIT_ALL(done);
      consume();
      last_window = window_of[epoch]
    fi;
    epoch++
  :: else -> break
  od;
ended:
killed:
  skip
}

/* Sees that a process has ended, some time later. */
proctype Daemon() {
end:
  dead -> aborted = true
}

init {
  byte e = 1;
  atomic {
    do
    :: e <= EPOCHS ->
      if :: window_of[e] = 0 :: window_of[e] = 1 fi;
      if :: kind_of[e] = PREPARED :: kind_of[e] = ONE_SHOT :: kind_of[e] = PREPARE fi;
      e++
    :: else -> break
    od;
    run Daemon();
    e = 0;
    do
    :: e < RANKS -> run Rank(e); e++
    :: else -> break
    od
  }
}
