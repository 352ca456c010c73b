/*
 * The purge protocol (docs/protocol.md) as a model for Spin 6.5. check-model.sh runs it.
 *
 * One customer, a server that deletes by index, a network that loses, delays and (where asked
 * for) repeats DELETEs, two workers that may crash or freeze at every step, persons, a clock.
 * Everything is one loop of guarded steps: each option is one thing that can happen next.
 *
 * STEPS AND ROWS are those of jobs/purge: a line "W0 listed 1 2 3" is the fact that a machine is
 * given, "W0 save", "W0 back", "W0 finish" are the writes that it answers with, "rows" is what the
 * store holds after them. TestMachineFollowsTheModel replays such lines against the machine.
 *
 * TIME is a set of countdowns that one step, tick, lowers together. Time passes only while
 * every worker is unclaimed, waits for an answer, or is frozen: a worker that can act, acts. A
 * slow worker, a long wait for a call slot and a halted VM are all "frozen". Every fault has a
 * budget, so no infinite run may exist: any cycle is a livelock (pan -l), and any state without a
 * next step before the end is a forgotten task.
 *
 * The pair (lease_owner, lease_epoch) is the variable owner: a worker holds at most one epoch
 * here, so owner == w is true for exactly the holder of the newest one.
 *
 * PROPERTIES
 *   P1       an executed DELETE removes no image outside the target set          (always on)
 *   P2       at images_deleted no target is on the server, nor later             (always on)
 *   P3       no DELETE leaves without a committed intent of its own              (always on)
 *   P4       every task ends                              (end states; pan -l: no cycle)
 *   STRONG   an executed DELETE removes the very image it was meant for, or none (-DSTRONG)
 *   SETTLED  no task ends while a DELETE may still run, or with an intent, or with an
 *            unknown image unless a person decides                               (-DSETTLED)
 *   FORBIDDEN no intent is committed while a hold or a pause stands              (with HOLD)
 *   NOTICE=1 replaces P1: no task completes, and stays completed, although it did harm
 *   NOTICE=2 the same for harm to an image that an earlier listing of the task had shown
 *
 * CONFIGURATIONS
 *   ALL          selection all (else: named, every non-empty subset)     N    images at the start
 *   UNTIL_EMPTY  scope (with ALL)      ECONOMY, PARANOID  mode           BATCH  delete_batching: all
 *   LATE=k       an unanswered DELETE may run up to k ticks after it was sent; 99: at any time
 *   LAGR=k       a listing may show the state of up to k ticks ago, and a later one a newer state
 *   FKINDS       others: 1 append, 2 delete, 4 prepend, 8 replace in a slot (a sum); FA how many
 *   FQ           others act: 0 at any time, 1 only with no live view and no DELETE under way,
 *                2 only with no live view
 *   FSEEN        what others do is seen by every later listing
 *   TASK2        a second task for the same customer, while the first one waits or after it
 *   CANCEL       a person cancels the task, at any time
 *   HOLD         a hold or a pause, lifted later; and a pause of the budget by another process
 *   REFUSED=k    a call is refused for the organisation: the breaker opens
 *   ATTEMPTS=k   the task may meet fewer than k transient faults        LISTFAULTS=k  listings fail
 *   VIEWOLD=k    a view gets too old before its delete, and is listed again
 *   UNEXPECTED   an answer may be in no table
 *   LIE=1 success without running, LIE=2 "did not run" that ran, LIES how often (1)
 *   DUP          one DELETE runs twice
 *   DBLOSS       a fail-over that loses the committed intent
 *   STICKY       every DELETE answers 8078 and runs nothing; SLOWSLOT slots slower than the lease
 *   GAP          the process may freeze between the deadline check and the write
 *   PASSES=k     asserts that fewer than k batches leave a target behind (with BATCH)
 *   TRACE        prints the rows after every write, for the replay against the machine
 *   ONLYP1       leaves P2 and P3 out, to see what an ablation does to P1
 * ABLATIONS: one rule of the protocol taken away
 *   NOINTENT NOSETTLE BLINDRETRY ASC STALEVIEW NOFENCE NODEADLINE SLOTID NOLAGWAIT NOLAGREST
 *   NOBATCHLAG NORELIST NOCOUNT8078 NOQUARANTINE NORENEW NOCANCELSETTLE NOATTEMPTSETTLE
 *   NOREVIEWSETTLE NOBREAKERPLAN NOHOLDFENCE NOSECONDLOOK NORESTLAG NOLISTINGEND
 */

#ifndef N
#define N 3
#endif
#ifndef FA
#define FA 0
#endif
#ifndef FKINDS
#define FKINDS 0
#endif
#ifndef FQ
#define FQ 0
#endif
#ifndef LIE
#define LIE 0
#endif
#ifndef NOTICE
#define NOTICE 0
#endif
#ifndef LAGR
#define LAGR 0
#endif
#ifndef REFUSED
#define REFUSED 0
#endif
#ifndef LISTFAULTS
#define LISTFAULTS 0
#endif
#ifndef VIEWOLD
#define VIEWOLD 0
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 0      /* any number */
#endif

/* Fault budgets. */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef FREEZES
#define FREEZES 1
#endif
#ifndef LOSSES
#define LOSSES 2
#endif
#ifndef REFUSALS
#define REFUSALS 1
#endif

/* Durations in ticks. */
#ifndef LATE
#define LATE 1
#endif
#ifndef DL
#define DL 1            /* intend to send, at most */
#endif
#define REQ 1           /* request time-out */
#ifndef LEASE
#define LEASE 4
#endif
#ifndef LISTLAG
#define LISTLAG LAGR    /* the setting listing_lag */
#endif
#define BACKOFF 1
#define PROBE 2         /* delay of the breaker's probe */
#ifndef SETTLE                          /* the setting settle: how long a request may still run */
#if LATE == 99
#define SETTLE (DL + 2)
#else
#define SETTLE (DL + LATE + 1)
#endif
#endif
#ifdef NORESTLAG
#define REST SETTLE
#else
#define REST (SETTLE + LISTLAG)         /* after an unknown delete */
#endif
#ifdef NOSETTLE
#undef REST
#define REST 0
#define WORST 0
#endif
#ifndef WORST
#define WORST (DL + REQ + REST)         /* the rest that an intent sets */
#endif

#define CAP   (N + FA)  /* list positions */
#define IDS   (N + FA)  /* identities 1..IDS */
#define SLOTS 4         /* DELETEs under way at a time */
#define NOBODY 2

#define BIT(i)   (1 << (i))
#define HAS(m,i) (((m) >> (i)) & 1)

/* states of an image's row */
#define NONE     0
#define PLANNED  1
#define INTENDED 2
#define UNKNOWN  3
#define DELETED  4
#define ABSENT   5

/* states of a task */
#define OPEN 0
#define DONE 1          /* completed */
#define OTHER 2         /* review, failed, cancelled */

/* phases of a machine: what it does next */
#define UNCLAIMED 0
#define LISTING   1     /* waits for the slot of a listing, and lists */
#define SAVING    2     /* the write after a listing */
#define INTENDING 3     /* waits for a delete's slot, and commits the intent */
#define SENDING   4     /* checks the deadline */
#define WRITING   5     /* below the machine: the request is written */
#define AWAITING  6     /* its answer is waited for */

/* answers */
#define NOANS  0
#define OK     1        /* deleted */
#define R8078  2        /* no_such_image */
#define NOTRUN 3        /* not_run */
#define UNK    4        /* unknown */
#define UNX    5        /* unexpected */
#define R429   6        /* over_limit */
#define REF    7        /* refused */

/* what a listing came to */
#define LOK    0
#define LFAIL  1
#define L429   2
#define LREF   3

/* ---- the server ---- */
byte L[CAP]; byte n;           /* images in index order */
byte hnd[IDS + 1];             /* slot handle of an identity (SLOTID) */
byte fresh = N;                /* identities used so far */
#if LAGR > 0
byte Lold[CAP]; byte nold; byte lagS;
#endif
byte sem;                      /* how it reads several indexes: 2 highest first, 3 ascending */

/* ---- DELETEs under way ---- */
typedef Req { byte idx; byte ttl; byte x; byte cnt; byte who; bool used }
Req R[SLOTS];

/* ---- the store ---- */
byte st[IDS + 1];              /* target rows */
byte E;                        /* target rows with evidence */
byte B;                        /* bystander rows */
bool listed;                   /* the targets are written */
bool relisting;                /* the next listing is believed */
byte task = OPEN;
byte owner = NOBODY;           /* of the customer's lease */
byte lease, due, rest;         /* rest belongs to the customer */
byte still, contra;            /* still_present, contradictions */
bool review;                   /* review_as */
byte named;                    /* the named identities */
#ifdef TASK2
bool first = 1;
#endif
#ifdef CANCEL
bool cancel; bool cld[2];      /* the person's word, and what a machine knows of it */
byte fcan = 1;
#define CANCELLED cancel
#define KNOWSCANCEL(w) cld[w]
#else
#define CANCELLED 0
#define KNOWSCANCEL(w) 0
#endif
#ifdef HOLD
bool held; byte fh = 1; byte fb = 1;
#define HELD held
#else
#define HELD 0
#endif
#if REFUSED > 0
byte brk, pt, refusals; byte fr = REFUSED; bool pr[2]; bool passed[2];  /* brk: 1 a listing was refused, 2 a DELETE */
#define PROBING(w) pr[w]
#define BREAKER (brk > 0 && pt > 0)
#else
#define PROBING(w) 0
#define BREAKER 0
#endif
#if ATTEMPTS > 0
byte att;
#define EXHAUSTED (att >= ATTEMPTS)
#else
#define EXHAUSTED 0
#endif

/* ---- the machines: gone with the process ---- */
typedef View { byte a[CAP] }
View V[2]; byte vn[2];
byte pc[2]; byte x[2]; byte ix[2]; byte cnt[2]; byte dl[2]; byte rq[2]; byte ans[2]; byte how[2];
byte okd[2];                   /* deleted by an answer that is not written yet */
byte rs[2];                    /* the rest that the next write sets, plus 1; 0: keep */
byte dlag[2];                  /* what is left of the listing lag since a DELETE ran */
bool tok[2]; bool frozen[2];
#ifdef SLOWSLOT
byte sw[2];
#endif

/* ---- budgets and ghosts ---- */
byte fc = CRASHES; byte ff = FREEZES; byte fl = LOSSES; byte fn = REFUSALS; byte fa = FA;
byte flf = LISTFAULTS; byte fv = VIEWOLD;
#ifndef LIES
#define LIES (LIE > 0)
#endif
byte flie = LIES;
#ifdef DUP
byte fdup = 1;
#endif
#ifdef DBLOSS
byte fdb = 1;
#endif
#ifdef PASSES
byte passes;
#endif
byte G;                        /* identities that may be deleted */
bool harm;
bool over;

byte i, j, k, m, id, res, any, miss, back, ret, part, lost;     /* scratch of one step, 0 between steps */

#ifdef SLOTID
#define KEY(q) hnd[q]
#else
#define KEY(q) (q)
#endif

#ifdef NOFENCE
#define FENCED(w)  (true)
#define MAYSEND(w) (true)
#else
#define FENCED(w)  (owner == w)
#define MAYSEND(w) (owner == w && lease > REQ + DL)
#endif

#define WAITING(w) (frozen[w] || pc[w] == UNCLAIMED || (pc[w] == AWAITING && ans[w] == NOANS && rq[w] > 0))
#define NOVIEW(w)  (pc[w] == UNCLAIMED || pc[w] == LISTING || (owner != w && pc[w] < SENDING))
#define NOFLIGHT   (!R[0].used && !R[1].used && !R[2].used && !R[3].used)

inline leave(w) {              /* forget all that is volatile */
    pc[w] = UNCLAIMED; vn[w] = 0; x[w] = 0; ix[w] = 0; cnt[w] = 0; dl[w] = 0; rq[w] = 0; ans[w] = NOANS; how[w] = 0;
    okd[w] = 0; rs[w] = 0; dlag[w] = 0; tok[w] = 0;
#ifdef CANCEL
    cld[w] = 0;
#endif
#if REFUSED > 0
    pr[w] = 0; passed[w] = 0;
#endif
#ifdef SLOWSLOT
    sw[w] = 0;
#endif
    i = 0; do :: i < CAP -> V[w].a[i] = 0; i++ :: else -> break od;
    i = 0; do :: i < SLOTS -> if :: R[i].used && R[i].who == w -> R[i].who = NOBODY :: else fi; i++ :: else -> break od;
    i = 0
}

/* The rows, for the replay: state, "e" where there is evidence; the customer's rest. */
inline rows() {
#ifdef TRACE
    printf("rows");
    i = 1;
    do
    :: i <= IDS ->
        if :: st[i] != NONE && HAS(E, i) -> printf(" %d=%de", i, st[i]) :: st[i] != NONE && !HAS(E, i) -> printf(" %d=%d", i, st[i]) :: HAS(B, i) -> printf(" %d=b", i) :: else fi;
        i++
    :: else -> break
    od;
    i = 0; printf(" rest %d\n", rest)
#else
    skip
#endif
}

/* Every write carries what the store does not know yet. */
inline commit(w) {
    if :: okd[w] > 0 -> st[okd[w]] = DELETED; E = E | BIT(okd[w]); okd[w] = 0 :: else fi;
    if :: rs[w] > 0 -> rest = rs[w] - 1; rs[w] = 0 :: else fi
#if REFUSED > 0
    ; if :: passed[w] -> brk = 0; pt = 0; passed[w] = 0 :: else fi
#endif
}

inline release(w) { owner = NOBODY; lease = 0; rows(); leave(w) }

inline giveback(w, d) {        /* the fence was asked before */
    commit(w); due = d; release(w)
}

/* "A save renews the lease; one that ran out is not brought back." */
inline save(w) {
    printf("W%d save\n", w); commit(w); if :: lease > 0 -> lease = LEASE :: else fi; rows()
}

inline settled() {
#ifdef SETTLED
    assert(NOFLIGHT);
    i = 1; do :: i <= IDS -> assert(st[i] != INTENDED); i++ :: else -> break od; i = 0
#else
    skip
#endif
}

inline told() {
#ifdef SETTLED
    i = 1; do :: i <= IDS -> assert(st[i] != UNKNOWN); i++ :: else -> break od; i = 0
#else
    skip
#endif
}

inline finish(w) {             /* no images_deleted */
    commit(w); task = OTHER; settled(); told(); release(w)
}

inline finishreview(w) {       /* a person decides, also of what no listing could tell */
    commit(w); task = OTHER; settled(); release(w)
}

inline finishdone(w) {         /* images_deleted, no_images, already_absent */
    commit(w); task = DONE;
#if NOTICE > 0
    assert(!harm);
#endif
    i = 0;
#ifndef ONLYP1
    do :: i < n -> assert(!HAS(G, L[i])); i++ :: else -> break od;      /* P2 */
    i = 0;
#endif
    settled(); release(w)
}

/* step 7, "did not run"; step 2, a listing that fails */
inline transient(w) {
    if
    :: PROBING(w) -> printf("W%d back breaker\n", w); giveback(w, 0)
    :: else ->
#if ATTEMPTS > 0
        att++;
#endif
        any = 0;
#ifndef NOLISTINGEND
        i = 1; do :: i <= IDS -> if :: st[i] == UNKNOWN -> any = 1 :: else fi; i++ :: else -> break od; i = 0;
#endif
        if
        :: !any && EXHAUSTED && KNOWSCANCEL(w) -> printf("W%d finish cancelled\n", w); finish(w)
        :: !any && EXHAUSTED && !KNOWSCANCEL(w) -> printf("W%d finish attempts_exhausted\n", w); finish(w)
        :: else -> printf("W%d back backoff\n", w); giveback(w, BACKOFF)
        fi;
        any = 0
    fi
}

#if REFUSED > 0
inline refusedforall(w, kind) {
    if :: brk == 0 -> brk = kind :: else fi;
    pt = PROBE;
    if :: !pr[w] -> refusals++ :: else fi;
    if
    :: !pr[w] && refusals >= 3 -> printf("W%d finish unexpected_response\n", w); finishreview(w)
    :: else -> printf("W%d back breaker\n", w); giveback(w, 0)
    fi
}
#endif

inline clearslot(q) { R[q].idx = 0; R[q].ttl = 0; R[q].x = 0; R[q].cnt = 0; R[q].who = NOBODY; R[q].used = 0 }

/* What stood at the server before a change stays visible for LAGR ticks. */
inline remember() {
#if LAGR > 0
    if
    :: lagS > 0 -> skip
    :: true ->
        d_step {
            i = 0; do :: i < CAP -> Lold[i] = L[i]; i++ :: else -> break od;
            i = 0; nold = n; lagS = LAGR
        }
    fi
#else
    skip
#endif
}

inline remove(p) {             /* take L[p] out, the rest moves down */
    i = p;
    do :: i + 1 < n -> L[i] = L[i + 1]; i++ :: else -> break od;
    n--; L[n] = 0; i = 0
}

inline hit(p, q) {             /* DELETE q removes the image at p: P1, STRONG, P2 afterwards */
    id = L[p];
    if
    :: HAS(G, id) -> printf("        server deletes image %d (index %d)\n", id, p)
    :: else ->
        printf("        server deletes image %d (index %d): NOT A TARGET\n", id, p);
#if NOTICE == 0
        assert(false);         /* P1 */
#endif
#if NOTICE == 1
        harm = 1; assert(task != DONE);
#endif
#if NOTICE == 2
        if :: HAS(B, id) -> harm = 1; assert(task != DONE) :: else fi;
#endif
    fi;
#ifdef STRONG
    assert(R[q].cnt > 0 || R[q].x == KEY(id));
#endif
    id = 0;
    remove(p)
}

inline execute(q) {
    remember();
    d_step {
        res = R8078; part = 0;
#ifdef STICKY
        skip
#else
        if
        :: R[q].cnt == 0 ->
            if :: R[q].idx < n -> j = R[q].idx; hit(j, q); res = OK :: else -> printf("        server: index %d, no image (8078)\n", R[q].idx) fi
        :: else ->
            if
            :: sem == 3 ->     /* ascending, one by one, each shifting the rest */
                j = 0; do :: j < R[q].cnt -> if :: j < n -> hit(j, q); res = OK :: else -> part = 1 fi; j++ :: else -> break od
            :: else ->         /* at once, or highest first: the same images */
                j = R[q].cnt; do :: j > 0 -> j--; if :: j < n -> hit(j, q); res = OK :: else -> part = 1 fi :: else -> break od
            fi
        fi;
#endif
        j = 0
    };
    if
    :: res == OK && part -> res = R8078        /* some of the indexes were missing */
    :: true
    fi;
    part = 0
}

/* Step 3: choose. The view and the rows alone decide. */
inline choose(w) {
    any = 0; x[w] = 0; ix[w] = 0; cnt[w] = 0; back = (vn[w] > 1);
    i = 0;
    do
    :: i < vn[w] ->
        if
        :: st[V[w].a[i]] == PLANNED ->
#ifdef ASC
            if :: !any -> ix[w] = i; x[w] = V[w].a[i] :: else fi;
#else
            ix[w] = i; x[w] = V[w].a[i];
#endif
            any = 1
        :: else -> back = 0
        fi;
        i++
    :: else -> break
    od;
    i = 0;
#ifdef BATCH
    if :: back -> cnt[w] = vn[w]; x[w] = 0; ix[w] = 0 :: else fi;
#endif
    back = 0
}

/* Steps 2 and 8: the listing against the rows, by identity. One fenced transaction. */
inline reconcile(w) {
    m = 0; back = 0; miss = 0; ret = 0; any = 0;
    if :: okd[w] > 0 -> st[okd[w]] = DELETED; E = E | BIT(okd[w]); okd[w] = 0 :: else fi;
    i = 0; do :: i < vn[w] -> m = m | BIT(V[w].a[i]); i++ :: else -> break od;
    i = 1;
    do
    :: i <= IDS ->
        if
        :: (st[i] == DELETED || st[i] == ABSENT) && HAS(m, i) -> back = 1
#ifndef NOSECONDLOOK
        :: listed && st[i] == PLANNED && !HAS(m, i) -> back = 1
#endif
        :: listed && HAS(B, i) && !HAS(m, i) -> back = 1; miss = 1
        :: st[i] == NONE && !HAS(B, i) && HAS(m, i) ->          /* new */
#ifdef ALL
#ifdef UNTIL_EMPTY
            st[i] = PLANNED; G = G | BIT(i)
#else
            if :: !listed -> st[i] = PLANNED; G = G | BIT(i) :: else -> B = B | BIT(i) fi
#endif
#else
            if :: HAS(named, i) -> st[i] = PLANNED :: else -> B = B | BIT(i) fi
#endif
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 1;
    if
#ifndef NOLAGWAIT
    :: back && !relisting ->           /* it contradicts the rows: doubt them, list again later */
        do
        :: i <= IDS ->
            if
            :: HAS(m, i) && st[i] == DELETED -> st[i] = UNKNOWN
            :: HAS(m, i) && st[i] == ABSENT -> st[i] = PLANNED
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0; relisting = 1;
        printf("W%d back listing_lag\n", w); giveback(w, LISTLAG)
#endif
    :: else ->
#ifdef PASSES
        if :: relisting && vn[w] > 0 -> passes++; assert(passes < PASSES) :: else fi;
#endif
        relisting = 0; listed = 1;
        do
        :: i <= IDS ->
            if
            :: st[i] == NONE || st[i] == INTENDED
            :: (st[i] == DELETED || st[i] == ABSENT) && HAS(m, i) -> ret = 1; st[i] = PLANNED; E = E & ~BIT(i)
            :: (st[i] == UNKNOWN || st[i] == PLANNED) && HAS(m, i) ->
                if :: HAS(E, i) -> ret = 1; E = E & ~BIT(i) :: else fi;
                st[i] = PLANNED
            :: st[i] == UNKNOWN && !HAS(m, i) -> st[i] = DELETED; E = E | BIT(i)
            :: st[i] == PLANNED && !HAS(m, i) -> st[i] = ABSENT; E = E | BIT(i)
            :: else
            fi;
            if :: st[i] != NONE -> any = 1 :: else fi;
            i++
        :: else -> break
        od;
        i = 0; id = any;                /* id: there are targets */
        if
        :: KNOWSCANCEL(w) -> printf("W%d finish cancelled\n", w); finish(w)
        :: !KNOWSCANCEL(w) && miss -> printf("W%d finish bystander_missing\n", w); finish(w)
        :: !KNOWSCANCEL(w) && !miss && review -> printf("W%d finish unexpected_response\n", w); finish(w)
        :: !KNOWSCANCEL(w) && !miss && !review && !id ->
#ifdef ALL
            printf("W%d finish no_images\n", w);
#else
            printf("W%d finish already_absent\n", w);
#endif
            finishdone(w)
        :: else ->
            if :: ret -> still++ :: else fi;
            choose(w);
            if
            :: ret && still >= 3 -> printf("W%d finish still_present\n", w); finish(w)
            :: !(ret && still >= 3) && !any -> printf("W%d finish images_deleted\n", w); finishdone(w)
            :: !(ret && still >= 3) && any && EXHAUSTED -> printf("W%d finish attempts_exhausted\n", w); finish(w)
            :: else -> save(w); pc[w] = INTENDING
            fi
        fi
    fi;
    m = 0; back = 0; miss = 0; ret = 0; any = 0; id = 0
}

inline setmany(w, to, ev) {     /* the batched targets, or the one */
    if
    :: cnt[w] == 0 ->
        st[x[w]] = to; if :: ev -> E = E | BIT(x[w]) :: else -> E = E & ~BIT(x[w]) fi
    :: else ->
        i = 0;
        do
        :: i < vn[w] ->
            st[V[w].a[i]] = to; if :: ev -> E = E | BIT(V[w].a[i]) :: else -> E = E & ~BIT(V[w].a[i]) fi;
            i++
        :: else -> break
        od;
        i = 0
    fi
}

/* No answer is outstanding: the rest ends, but for what is left of the listing lag. */
inline clearrest(w) {
#ifdef NOLAGREST
    rs[w] = 1
#else
    rs[w] = dlag[w] + 1
#endif
}

inline relist(w) { x[w] = 0; ix[w] = 0; cnt[w] = 0; vn[w] = 0; i = 0; do :: i < CAP -> V[w].a[i] = 0; i++ :: else -> break od; i = 0; pc[w] = LISTING }

/* letListingDecide: what several indexes in one call come to is not documented */
inline letlistingdecide(w, ev) {
    setmany(w, UNKNOWN, ev); relisting = 1;
    printf("W%d back listing_lag\n", w);
#ifdef NOBATCHLAG
    giveback(w, 0)
#else
    giveback(w, LISTLAG)
#endif
}

inline printtargets(w) {
    printf("W%d intend", w);
    if
    :: cnt[w] == 0 -> printf(" %d@%d", x[w], ix[w])
    :: else -> i = vn[w]; do :: i > 0 -> i--; printf(" %d@%d", V[w].a[i], i) :: else -> break od; i = 0
    fi;
    printf("\n")
}

inline answered(w) {
    if
    :: ans[w] == OK && cnt[w] == 0 ->
        dlag[w] = LISTLAG; clearrest(w);
#if REFUSED > 0
        passed[w] = (pr[w] && brk > 0);
#endif
        /* The machine knows; the store learns it with the next write. */
        okd[w] = x[w]; ans[w] = NOANS; rq[w] = 0;
#ifndef STALEVIEW
        i = ix[w]; do :: i + 1 < vn[w] -> V[w].a[i] = V[w].a[i + 1]; i++ :: else -> break od;
        vn[w] = vn[w] - 1; V[w].a[vn[w]] = 0; i = 0;
#endif
        lost = st[okd[w]]; st[okd[w]] = DELETED;        /* as the machine sees it */
        choose(w);
        st[okd[w]] = lost; lost = 0;
        if
#ifndef PARANOID
        :: any -> pc[w] = INTENDING
#else
        :: any && FENCED(w) -> save(w); relist(w)
        :: any && !FENCED(w) -> printf("W%d lease_lost\n", w); leave(w)
#endif
        :: !any && !FENCED(w) -> printf("W%d lease_lost\n", w); leave(w)
        :: !any && FENCED(w) ->
#if defined(ECONOMY) && !defined(UNTIL_EMPTY)
            printf("W%d finish images_deleted\n", w); finishdone(w)
#else
            save(w); relist(w)
#endif
        fi;
        any = 0
    :: else ->
        if
        :: ans[w] == OK || (ans[w] == R8078 && cnt[w] > 0) -> dlag[w] = LISTLAG
        :: else
        fi;
        clearrest(w);
#if REFUSED > 0
        if :: (ans[w] == OK || ans[w] == R8078) && pr[w] && brk > 0 -> passed[w] = 1 :: else fi;
#endif
        if
        :: !FENCED(w) -> printf("W%d lease_lost\n", w); leave(w)
        :: FENCED(w) && ans[w] == OK -> letlistingdecide(w, 1)
        :: FENCED(w) && ans[w] == R8078 ->
#ifndef NOCOUNT8078
            contra++;
#endif
            if
            :: cnt[w] > 0 ->
                if :: contra >= 3 -> review = 1 :: else fi;
                letlistingdecide(w, 0)
            :: cnt[w] == 0 && contra >= 3 -> setmany(w, PLANNED, 0); printf("W%d finish index_contradiction\n", w); finish(w)
            :: else -> setmany(w, PLANNED, 0); ans[w] = NOANS; rq[w] = 0; save(w); relist(w)
            fi
        :: FENCED(w) && ans[w] == NOTRUN -> setmany(w, PLANNED, 0); transient(w)
        :: FENCED(w) && ans[w] == R429 ->
            setmany(w, PLANNED, 0); ans[w] = NOANS; rq[w] = 0; save(w);
#ifdef NORELIST
            pc[w] = INTENDING
#else
            relist(w)
#endif
#if REFUSED > 0
        :: FENCED(w) && ans[w] == REF ->
#ifdef NOBREAKERPLAN
            setmany(w, DELETED, 1);
#else
            setmany(w, PLANNED, 0);
#endif
            refusedforall(w, 2)
#endif
        :: FENCED(w) && (ans[w] == UNK || ans[w] == UNX) ->
#ifdef BLINDRETRY
            ans[w] = NOANS; rq[w] = 0; pc[w] = INTENDING
#else
            setmany(w, UNKNOWN, 0); rs[w] = REST + 1;
            if :: ans[w] == UNX -> review = 1 :: else fi;
#if ATTEMPTS > 0
            if :: !PROBING(w) -> att++ :: else fi;
#endif
            if
#ifdef NOREVIEWSETTLE
            :: ans[w] == UNX -> printf("W%d finish unexpected_response\n", w); finish(w)
#endif
#ifdef NOATTEMPTSETTLE
            :: EXHAUSTED -> printf("W%d finish attempts_exhausted\n", w); finish(w)
#endif
#ifdef NOCANCELSETTLE
            :: CANCELLED -> printf("W%d finish cancelled\n", w); finish(w)
#endif
            :: else -> printf("W%d back settle\n", w); giveback(w, REST)
            fi
#endif
        fi
    fi
}

inline printlisted(w) {
    printf("W%d listed", w);
    i = 0; do :: i < vn[w] -> printf(" %d", V[w].a[i]); i++ :: else -> break od;
    i = 0
}

inline work(w) {
    if
    /* steps 0, 1: the claim. The customer does not rest, so what was intended may count as unknown. */
    :: pc[w] == UNCLAIMED ->
        d_step {
            owner = w; lease = LEASE; rest = 0; any = 0; pc[w] = LISTING;
#if REFUSED > 0
            pr[w] = (brk > 0); if :: brk > 0 -> pt = PROBE :: else fi;
#endif
#ifdef CANCEL
            cld[w] = cancel;
#endif
            printf("W%d claim cancelled %d probe %d\n", w, CANCELLED, PROBING(w));
            i = 1;
            do
            :: i <= IDS ->
                if :: st[i] == INTENDED -> st[i] = UNKNOWN; E = E & ~BIT(i) :: else fi;
                if :: st[i] == UNKNOWN -> any = 1 :: else fi;
                i++
            :: else -> break
            od;
            i = 0;
#ifdef CANCEL
            if :: !any && cld[w] -> printf("W%d finish cancelled\n", w); finish(w) :: else fi;
#endif
            any = 0
        }

    :: pc[w] == LISTING ->
        if
        :: true ->
            d_step {
                vn[w] = n;
                i = 0; do :: i < CAP -> if :: i < n -> V[w].a[i] = KEY(L[i]) :: else -> V[w].a[i] = 0 fi; i++ :: else -> break od;
                i = 0; pc[w] = SAVING; printlisted(w); printf("\n")
            }
#if LAGR > 0
        :: lagS > 0 ->
            d_step {
                vn[w] = nold;
                i = 0; do :: i < CAP -> if :: i < nold -> V[w].a[i] = KEY(Lold[i]) :: else -> V[w].a[i] = 0 fi; i++ :: else -> break od;
                i = 0; pc[w] = SAVING; printlisted(w); printf(" (stale)\n")
            }
#endif
#if LISTFAULTS > 0
        :: flf > 0 -> flf--; how[w] = LFAIL; pc[w] = SAVING; printf("W%d listing unknown\n", w)
        :: flf > 0 -> flf--; how[w] = L429; pc[w] = SAVING; printf("W%d listing over_limit\n", w)
#endif
#if REFUSED > 0
        :: fr > 0 -> fr--; how[w] = LREF; pc[w] = SAVING; printf("W%d listing refused\n", w)
#endif
        fi

    :: pc[w] == SAVING ->
        d_step {
            if
            :: !FENCED(w) -> printf("W%d lease_lost\n", w); leave(w)
#if LISTFAULTS > 0
            :: FENCED(w) && how[w] == LFAIL -> transient(w)
            :: FENCED(w) && how[w] == L429 -> how[w] = LOK; save(w); pc[w] = LISTING
#endif
#if REFUSED > 0
            :: FENCED(w) && how[w] == LREF -> refusedforall(w, 1)
#endif
            :: FENCED(w) && how[w] == LOK ->
#if REFUSED > 0
                /* a probe's listing that is answered closes a breaker that a listing has opened */
                if :: pr[w] && brk == 1 -> passed[w] = 1 :: else fi;
#endif
                reconcile(w)
            fi
        }

    /* step 5: intend */
    :: pc[w] == INTENDING ->
        if
#if VIEWOLD > 0
        :: fv > 0 -> d_step { fv--; printf("W%d view_old\n", w); relist(w) }
#endif
#ifdef HOLD
        :: fb > 0 && FENCED(w) && !CANCELLED && !HELD && lease > 0 ->
            d_step { fb--; printf("W%d refused budget_pause\n", w); clearrest(w); save(w); relist(w) }
#endif
        :: true -> d_step {
            if
#ifndef NOFENCE
            :: owner != w || lease == 0 -> printf("W%d refused lease_lost\n", w); leave(w)
            :: owner == w && lease > 0 && CANCELLED ->
                printf("W%d refused cancelled\n", w); clearrest(w); printf("W%d finish cancelled\n", w); finish(w)
#ifndef NOHOLDFENCE
            :: owner == w && lease > 0 && !CANCELLED && HELD ->
                printf("W%d refused held\n", w); clearrest(w); printf("W%d back\n", w); giveback(w, 0)
#endif
#ifdef NOHOLDFENCE
            :: owner == w && lease > 0 && !CANCELLED && lease <= REQ + DL ->
#else
            :: owner == w && lease > 0 && !CANCELLED && !HELD && lease <= REQ + DL ->
#endif
                printf("W%d refused lease_short\n", w); clearrest(w); printf("W%d back\n", w); giveback(w, 0)
#endif
            :: else ->
#ifdef HOLD
                assert(!held);          /* FORBIDDEN */
#endif
                commit(w);
#ifndef NOINTENT
                setmany(w, INTENDED, 0);
                rest = WORST;
                tok[w] = 1;
#ifndef NOFENCE
                lease = LEASE;
#endif
#endif
                dl[w] = DL + 1; pc[w] = SENDING;
                printtargets(w); rows()
            fi
          }
        fi

    /* step 6: send */
    :: pc[w] == SENDING ->
        d_step {
            if
#ifdef NODEADLINE
            :: true ->
#else
            :: dl[w] > 0 ->
#endif
#ifdef GAP
                printf("W%d checks the deadline\n", w);
#endif
                dl[w] = 0; pc[w] = WRITING
#ifndef NODEADLINE
            :: dl[w] == 0 ->
                printf("W%d answer not_sent\n", w);
                if
                :: FENCED(w) -> setmany(w, PLANNED, 0); clearrest(w); printf("W%d back backoff\n", w); giveback(w, 2 * BACKOFF)
                :: else -> printf("W%d lease_lost\n", w); leave(w)
                fi
#endif
            fi
        };
#ifndef GAP
        if :: pc[w] == WRITING -> write(w) :: else fi
#endif
#ifdef GAP
    :: pc[w] == WRITING -> write(w)
#endif

    /* step 7: the answer */
    :: pc[w] == AWAITING && (ans[w] != NOANS || rq[w] == 0) ->
        d_step {
            if :: ans[w] == NOANS -> ans[w] = UNK :: else fi;
            i = 0; do :: i < SLOTS -> if :: R[i].used && R[i].who == w -> R[i].who = NOBODY :: else fi; i++ :: else -> break od; i = 0;
            if
            :: ans[w] == OK -> printf("W%d answer deleted\n", w)
            :: ans[w] == R8078 -> printf("W%d answer no_such_image\n", w)
            :: ans[w] == NOTRUN -> printf("W%d answer not_run\n", w)
            :: ans[w] == R429 -> printf("W%d answer over_limit\n", w)
            :: ans[w] == UNK -> printf("W%d answer unknown\n", w)
            :: ans[w] == UNX -> printf("W%d answer unexpected\n", w)
            :: ans[w] == REF -> printf("W%d answer refused\n", w)
            fi;
            answered(w)
        }
    fi
}

inline write(w) {
    d_step {
#ifndef ONLYP1
        assert(tok[w]);        /* P3 */
#endif
        tok[w] = 0; dl[w] = 0;
        k = 0; do :: k < SLOTS && R[k].used -> k++ :: else -> break od;
        if
        :: k < SLOTS ->
            R[k].used = 1; R[k].idx = ix[w]; R[k].x = x[w]; R[k].cnt = cnt[w]; R[k].who = w;
            R[k].ttl = LATE + 1
        :: else -> ans[w] = UNK        /* SLOTS are under way: this one is lost */
        fi;
        rq[w] = REQ; pc[w] = AWAITING;
        printf("W%d send\n", w);
        k = 0
    }
}

#ifdef SLOWSLOT
/* Whoever has the customer renews the lease while its machine waits for a slot. */
inline renew() {
    if
    :: owner != NOBODY && lease > 0 ->
        if :: pc[owner] == INTENDING && !frozen[owner] -> lease = LEASE :: else fi
    :: else
    fi
}
#endif

#define DOWN(t) if :: t > 0 -> t-- :: else fi

inline tick() {
    d_step {
        printf("tick\n");
        /* an answer that does not come in time is a loss */
        i = 0;
        do
        :: i < 2 ->
            if :: pc[i] == AWAITING && ans[i] == NOANS && rq[i] == 1 && !frozen[i] && fl > 0 -> fl-- :: else fi;
            DOWN(dl[i]); DOWN(rq[i]); DOWN(dlag[i]); i++
        :: else -> break
        od;
        DOWN(lease); DOWN(due); DOWN(rest);
#if REFUSED > 0
        DOWN(pt);
#endif
#if LAGR > 0
        DOWN(lagS);
        if :: lagS == 0 -> nold = 0; i = 0; do :: i < CAP -> Lold[i] = 0; i++ :: else -> break od :: else fi;
#endif
#if LATE != 99
        i = 0;
        do
        :: i < SLOTS ->
            if :: R[i].used -> R[i].ttl--; if :: R[i].ttl == 0 -> clearslot(i) :: else fi :: else fi;
            i++
        :: else -> break
        od;
#endif
        i = 0
    }
}

#if REFUSED > 0
#define LATEMOVES (lease > 0 || due > 0 || rest > 0 || pt > 0 || dl[0] > 0 || dl[1] > 0 || rq[0] > 0 || rq[1] > 0)
#else
#define LATEMOVES (lease > 0 || due > 0 || rest > 0 || dl[0] > 0 || dl[1] > 0 || rq[0] > 0 || rq[1] > 0)
#endif
#if LATE == 99
#define TIMERS LATEMOVES
#else
#define TIMERS (LATEMOVES || !NOFLIGHT)
#endif
/* a time-out needs a loss in the budget */
#define EXPIRES(w) (pc[w] == AWAITING && ans[w] == NOANS && rq[w] == 1 && !frozen[w])
#define MAYTICK (TIMERS && WAITING(0) && WAITING(1) && (!(EXPIRES(0) || EXPIRES(1)) || fl > 0))

#define MAYCLAIM (task == OPEN && due == 0 && rest == 0 && !HELD && !BREAKER && (owner == NOBODY || lease == 0))
#ifdef SLOWSLOT
#define SLOTCOME(w) (pc[w] != INTENDING || sw[w] == LEASE + 1)
#define SLOWWAITS(w) (WAITING(w) || !SLOTCOME(w))
#else
#define SLOTCOME(w) (true)
#endif
#define CANACT(w) (!frozen[w] && ((pc[w] == UNCLAIMED && MAYCLAIM) || \
                   (pc[w] != UNCLAIMED && pc[w] != AWAITING && SLOTCOME(w)) || \
                   (pc[w] == AWAITING && (ans[w] != NOANS || rq[w] == 0))))

/* Everything the network can do with DELETE q. */
inline net(q) {
    if
    :: R[q].who == NOBODY ->     /* nobody waits for it any more: it runs late, or never */
        printf("        a DELETE runs late (index %d)\n", R[q].idx); execute(q); clearslot(q); res = 0
    :: R[q].who != NOBODY && ans[R[q].who] == NOANS ->
        if
        :: execute(q);
            if
            :: ans[R[q].who] = res; clearslot(q)
            :: fl > 0 -> fl--; printf("        its answer is lost\n"); ans[R[q].who] = UNK; clearslot(q)
#ifdef DUP
            :: fdup > 0 -> fdup--; printf("        a gateway holds a second copy\n"); ans[R[q].who] = res; R[q].who = NOBODY
#endif
#if LIE == 2
            :: flie > 0 -> flie--; printf("        LIE: it answers 'did not run'\n"); ans[R[q].who] = NOTRUN; clearslot(q)
            :: flie > 0 -> flie--; printf("        LIE: it answers 429\n"); ans[R[q].who] = R429; clearslot(q)
#endif
            fi;
            res = 0
        :: fl > 0 -> fl--; printf("        the DELETE is lost\n"); ans[R[q].who] = UNK; clearslot(q)
        :: fl > 0 -> fl--; printf("        5xx, the DELETE is still under way\n"); ans[R[q].who] = UNK; R[q].who = NOBODY
        :: fn > 0 -> fn--; printf("        did not run\n"); ans[R[q].who] = NOTRUN; clearslot(q)
        :: fn > 0 -> fn--; printf("        429\n"); ans[R[q].who] = R429; clearslot(q)
#if REFUSED > 0
        :: fr > 0 -> fr--; printf("        401\n"); ans[R[q].who] = REF; clearslot(q)
#endif
#ifdef UNEXPECTED
        :: fl > 0 -> fl--; printf("        an answer nobody knows, the DELETE is still under way\n"); ans[R[q].who] = UNX; R[q].who = NOBODY
#endif
#if LIE == 1
        :: flie > 0 -> flie--; printf("        LIE: it answers success and runs nothing\n"); ans[R[q].who] = OK; clearslot(q)
#endif
        fi
    fi
}
#define NETCAN(q) (R[q].used && (R[q].who == NOBODY || ans[R[q].who] == NOANS))

#if FQ == 0
#define OTHERSMAY (fa > 0)
#endif
#if FQ == 1
#define OTHERSMAY (fa > 0 && NOVIEW(0) && NOVIEW(1) && NOFLIGHT)
#endif
#if FQ == 2
#define OTHERSMAY (fa > 0 && NOVIEW(0) && NOVIEW(1))
#endif

inline others() {
    fa--;
#ifndef FSEEN
    remember();
#endif
    if
#if (FKINDS & 1)
    :: n < CAP -> d_step { fresh++; L[n] = fresh; n++; printf("        OTHERS append image %d\n", fresh) }
#endif
#if (FKINDS & 2)
    :: n > 0 ->
        j = 0;
        do :: j + 1 < n -> j++ :: break od; skip;
        d_step { printf("        OTHERS delete image %d (index %d)\n", L[j], j); k = j; j = 0; remove(k); k = 0 }
#endif
#if (FKINDS & 4)
    :: n < CAP ->
        d_step {
            fresh++;
            i = n; do :: i > 0 -> L[i] = L[i - 1]; i-- :: else -> break od;
            L[0] = fresh; n++; i = 0; printf("        OTHERS prepend image %d\n", fresh)
        }
#endif
#if (FKINDS & 8)
    :: n > 0 ->
        j = 0;
        do :: j + 1 < n -> j++ :: break od; skip;
        d_step {
            fresh++; hnd[fresh] = hnd[L[j]];
            printf("        OTHERS replace image %d by image %d (index %d)\n", L[j], fresh, j);
            L[j] = fresh; j = 0
        }
#endif
    :: else -> skip
    fi;
#if LAGR > 0
#ifdef FSEEN
    d_step { i = 0; do :: i < CAP -> Lold[i] = 0; i++ :: else -> break od; i = 0; nold = 0; lagS = 0 }
#endif
#endif
    skip
}

init {
    atomic {
        i = 0;
        do :: i < N -> L[i] = i + 1; i++ :: else -> break od;
        i = 0; n = N;
        i = 1; do :: i <= IDS -> hnd[i] = i; i++ :: else -> break od; i = 0;
        i = 0; do :: i < SLOTS -> R[i].who = NOBODY; i++ :: else -> break od; i = 0;
#ifndef ALL
        i = 1;
        do :: i <= N -> if :: named = named | BIT(i) :: skip fi; i++ :: else -> break od;
        i = 0;
        if :: named == 0 -> named = BIT(1) :: else fi;
        G = named; printf("named %d\n", named);
#endif
#ifdef BATCH
        if :: sem = 2 :: sem = 3 fi;
#endif
#ifdef TRACE
        printf("settings listing_lag %d settle %d attempts %d\n", LISTLAG, SETTLE, ATTEMPTS);
#endif
        skip
    };
    do
    :: atomic { CANACT(0) -> work(0) }
    :: atomic { CANACT(1) -> work(1) }
    :: atomic { NETCAN(0) -> net(0) }
    :: atomic { NETCAN(1) -> net(1) }
    :: atomic { NETCAN(2) -> net(2) }
    :: atomic { NETCAN(3) -> net(3) }
    :: atomic { MAYTICK -> tick() }
    :: d_step { fc > 0 && pc[0] != UNCLAIMED -> fc--; printf("W0 crash\n"); frozen[0] = 0; leave(0) }
    :: d_step { fc > 0 && pc[1] != UNCLAIMED -> fc--; printf("W1 crash\n"); frozen[1] = 0; leave(1) }
    :: d_step { ff > 0 && pc[0] != UNCLAIMED && !frozen[0] -> ff--; printf("W0 freezes\n"); frozen[0] = 1 }
    :: d_step { ff > 0 && pc[1] != UNCLAIMED && !frozen[1] -> ff--; printf("W1 freezes\n"); frozen[1] = 1 }
    :: d_step { frozen[0] -> printf("W0 wakes\n"); frozen[0] = 0 }
    :: d_step { frozen[1] -> printf("W1 wakes\n"); frozen[1] = 0 }
#ifdef SLOWSLOT
#ifdef NORENEW
    :: atomic { !frozen[0] && pc[0] == INTENDING && sw[0] <= LEASE && SLOWWAITS(1) -> sw[0]++; tick() }
    :: atomic { !frozen[1] && pc[1] == INTENDING && sw[1] <= LEASE && SLOWWAITS(0) -> sw[1]++; tick() }
#else
    :: atomic { !frozen[0] && pc[0] == INTENDING && sw[0] <= LEASE && SLOWWAITS(1) -> sw[0]++; tick(); renew() }
    :: atomic { !frozen[1] && pc[1] == INTENDING && sw[1] <= LEASE && SLOWWAITS(0) -> sw[1]++; tick(); renew() }
#endif
#endif
#if FA > 0
    :: atomic { OTHERSMAY && task == OPEN -> others() }
#endif
#ifdef CANCEL
    :: d_step { fcan > 0 && task == OPEN -> fcan--; cancel = 1; printf("cancel\n") }
#endif
#ifdef HOLD
    :: d_step { fh > 0 && task == OPEN -> fh--; held = 1; printf("hold\n") }
    :: d_step { held -> held = 0; printf("release\n") }
#endif
#ifdef DBLOSS
    :: d_step {
        fdb > 0 && task == OPEN -> fdb--;
        printf("failover\n");
        i = 1; do :: i <= IDS -> if :: st[i] == INTENDED -> st[i] = PLANNED :: else fi; i++ :: else -> break od; i = 0;
        owner = NOBODY; lease = 0; rest = 0;
#ifdef NOQUARANTINE
        due = 0
#else
        due = REST
#endif
       }
#endif
#ifdef TASK2
    :: d_step {
        first && (task != OPEN || owner == NOBODY || lease == 0) -> first = 0;
        printf("task2\n");
        i = 1; do :: i <= IDS -> st[i] = NONE; i++ :: else -> break od; i = 0;
        due = 0; owner = NOBODY; lease = 0;
#ifdef NOQUARANTINE
        rest = 0;
#endif
#ifdef CANCEL
        cancel = 0;
#endif
#if REFUSED > 0
        refusals = 0;
#endif
#if ATTEMPTS > 0
        att = 0;
#endif
        E = 0; B = 0; listed = 0; relisting = 0; still = 0; contra = 0; review = 0; task = OPEN
       }
#endif
    :: task != OPEN -> break
    od;
end:
    over = 1
}
