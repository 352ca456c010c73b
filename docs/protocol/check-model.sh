#!/bin/bash
# Checks purge-protocol.pml in its configurations, one line each:
#   configuration, states, result, expected result.
# A violation is searched breadth-first, so that its counterexample is the shortest.
#
#   check-model.sh           all; exit status 1 where a result is not the expected one
#   check-model.sh --short   those marked "quick": what every change is checked by
#   check-model.sh -t WORD   only configurations whose line contains WORD, with the steps
#                            of the counterexample
#   check-model.sh --list    their names, flags and expected results, and checks nothing
#
# Needs bash 5.1, spin 6.5 and gcc; 3 GB of memory for each of the runs that go on side by
# side, JOBS of them (default: one a processor).
set -u
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
only='' which=all
case ${1-} in
    '') ;;
    -t) only=${2:?a word}; which=traced ;;
    --short) which=short ;;
    --list) which=list ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
jobs=${JOBS:-$(nproc)}
total=0 shown=0

# explore EXPECTED DESCRIPTION FLAG...: one configuration, in the directory it stands in
explore() {
    local want=$1 name=$2; shift 2
    local how='-DSAFETY' run='' got states mark='' level=-O0
    case $want in
        holds) ;;
        ends|livelock) how='-DNP' run='-l' ;;
        *) how='-DSAFETY -DBFS' ;;
    esac
    # Building is most of a small run, and the least of a big one.
    [[ $want != holds && $want != ends || "$*" == *-DFREEZES=0* || "$*" == *-DN=2* ]] || level=-O1
    if ! spin -a "$@" "$here/purge-protocol.pml" >spin.txt 2>&1 || ! gcc $level -w $how -DMEMLIM=3000 -o pan pan.c 2>gcc.txt; then
        got='does not build'; states=-
    else
        ./pan -m1000000 -n $run >pan.txt 2>&1
        states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.txt)
        case $(grep -m1 '^pan:1:' pan.txt) in
            '') got=holds; [ "$how" = -DNP ] && got=ends ;;
            *'violated 0 '*)  got=P1 ;;
            *'(G>>'*)         got=P2 ;;
            *'tok['*)         got=P3 ;;
            *'.x=='*)         got=STRONG ;;
            *'.used'*|*'!=2'*|*'!=3'*) got=SETTLED ;;
            *harm*|*'task!=1'*) got=unnoticed ;;
            *'held)'*)        got=FORBIDDEN ;;
            *'passes<'*)      got=passes ;;
            *'non-progress'*) got=livelock ;;
            *'end state'*)    got=stuck ;;
            *)                got=$(grep -m1 '^pan:1:' pan.txt) ;;
        esac
        grep -q 'out of memory\|max search depth too small\|search not completed\|Search not completed' pan.txt && [[ $got == holds || $got == ends ]] && got=incomplete
        [ -n "$states" ] || got=incomplete
    fi
    [ "$got" = "$want" ] || { mark='   <-- DIFFERS'; touch differs; }
    printf '%-74s %9s  %-10s %-10s%s\n' "$name" "$states" "$got" "$want" "$mark" >line
    if [ -n "$only" ] && ls ./*.trail >/dev/null 2>&1; then
        # Spin looks for the trail beside the model.
        cp "$here/purge-protocol.pml" model.pml && mv ./*.trail model.pml.trail
        spin -t -T "$@" model.pml | sed -e '/^#processes/,$d' -e '/^spin:/d' -e '/^ *$/d' -e 's/^/    /' >>line
    fi
    rm -f pan pan.?
}

# show prints the lines of configurations that have ended, in their order.
show() {
    while [ "$shown" -lt "$total" ] && [ -f "$dir/$shown/over" ]; do
        cat "$dir/$shown/line"; shown=$((shown + 1))
    done
}

# check EXPECTED DESCRIPTION FLAG...
check() {
    local at="$dir/$total"
    if [ "$which" = list ]; then printf '%s\t%s\t%s\t%s\n' "${quick:+quick}" "$1" "$2" "${*:3}"; return; fi
    if [ "$which" = short ] && [ -z "${quick-}" ]; then return; fi
    if [ -n "$only" ] && [[ "$2 ${*:3}" != *"$only"* ]]; then return; fi
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; show; done
    mkdir "$at" && total=$((total + 1))
    (cd "$at" && explore "$@"; touch over) &
}
quick() { quick=1 check "$@"; }        # also a part of the short set

few='-DFREEZES=0 -DREFUSALS=0'         # smaller budgets where others act
[ "$which" = list ] || printf '%-74s %9s  %-10s %-10s\n' configuration states result expected

# The protocol as written; late execution bounded by the settle time; no others.
quick holds 'named, verified, 3 images'                         -DSTRONG -DSETTLED
check holds 'named, verified, 4 images'                         -DSTRONG -DSETTLED -DN=4
check holds 'named, verified, 2 crashes, 3 losses'              -DSTRONG -DSETTLED -DCRASHES=2 -DLOSSES=3 -DN=2
check holds 'named, paranoid'                                   -DSTRONG -DSETTLED -DPARANOID
quick holds 'named, economy (honest server)'                    -DSTRONG -DSETTLED -DECONOMY -DN=2
check holds 'named, economy (honest server), 3 images'          -DSTRONG -DSETTLED -DECONOMY
quick holds 'all, verified'                                     -DSTRONG -DSETTLED -DALL
check holds 'all, until_empty'                                  -DSTRONG -DSETTLED -DALL -DUNTIL_EMPTY
check holds 'all, verified, views that get too old'             -DSTRONG -DSETTLED -DALL -DVIEWOLD=2
check holds 'named, longer lateness'                            -DSTRONG -DSETTLED -DLATE=4
quick holds 'named, listing lag, 2 images'                      -DSTRONG -DSETTLED -DLAGR=2 -DN=2
check holds 'named, listing lag'                                -DSTRONG -DSETTLED -DLAGR=2
check holds 'named, listing lag, economy'                       -DSTRONG -DSETTLED -DLAGR=2 -DECONOMY
check holds 'named, success that did not run (verified)'        -DLIE=1 -DFREEZES=0 -DSETTLED
check holds 'named, unexpected answers'                         -DUNEXPECTED -DSTRONG -DSETTLED -DN=2
check holds 'named, slots slower than the lease'                -DSLOWSLOT -DSTRONG -DSETTLED -DN=2
quick ends  'named, verified: every task ends, 2 images'        -DN=2 -DFREEZES=0
check ends  'named, verified: every task ends'
check ends  'all, paranoid: every task ends'                    -DALL -DPARANOID
check ends  'named, slots slower than the lease: every task ends' -DSLOWSLOT -DN=2

# Two tasks of one customer: the second while the first one waits, or after it.
quick holds 'second task'                                       -DTASK2 -DFREEZES=0 -DN=2
check holds 'second task, 3 images'                             -DTASK2 -DFREEZES=0
check holds 'second task, unexpected answers'                   -DTASK2 -DUNEXPECTED -DFREEZES=0 -DN=2
check holds 'second task, listing lag'                          -DTASK2 -DLAGR=2 -DN=2
check holds 'second task, listing lag, 3 images'                -DTASK2 -DLAGR=2 $few -DLOSSES=1
check holds 'second task, listing lag, economy, 3 images'       -DTASK2 -DLAGR=2 -DECONOMY $few -DLOSSES=1
check holds 'second task, listing lag, batch'                   -DTASK2 -DLAGR=2 -DALL -DBATCH $few -DLOSSES=1
quick P1    'no rest for the listing lag, second task'          -DTASK2 -DLAGR=2 -DNOLAGREST -DCRASHES=0 $few -DN=2
check P1    'no rest for the listing lag, second task, economy' -DTASK2 -DLAGR=2 -DNOLAGREST -DCRASHES=0 -DECONOMY $few
quick P1    'rest does not belong to the customer, second task' -DTASK2 -DNOQUARANTINE -DFREEZES=0 -DN=2
check P1    'review before it is settled, second task, no rest' -DTASK2 -DUNEXPECTED -DNOREVIEWSETTLE -DNOQUARANTINE -DFREEZES=0 -DN=2
check ends  'second task: every task ends'                      -DTASK2 -DFREEZES=0 -DN=2

# Persons: cancel, hold, pause. The organisation: its breaker. Attempts, listings that fail.
quick holds 'cancel at any time'                                -DCANCEL -DSTRONG -DSETTLED -DN=2 -DFREEZES=0
check holds 'cancel at any time, 3 images'                      -DCANCEL -DSTRONG -DSETTLED
check holds 'cancel at any time, listing lag, second task'      -DCANCEL -DTASK2 -DLAGR=1 -DFREEZES=0 -DN=2
check holds 'cancel at any time, 2 images, with freezes'        -DCANCEL -DSTRONG -DSETTLED -DN=2
check ends  'cancel at any time: every task ends'               -DCANCEL -DN=2
quick SETTLED 'cancelled before it is settled'                  -DCANCEL -DNOCANCELSETTLE -DSETTLED -DFREEZES=0
check P1    'cancelled before it is settled, second task, no rest' -DCANCEL -DNOCANCELSETTLE -DTASK2 -DNOQUARANTINE -DFREEZES=0 -DN=2
quick holds 'hold or pause at any time'                         -DHOLD -DSTRONG -DSETTLED -DN=2 -DFREEZES=0
quick FORBIDDEN 'the intent asks for no hold'                   -DHOLD -DNOHOLDFENCE -DN=2
check holds 'hold or pause at any time, 3 images'               -DHOLD -DSTRONG -DSETTLED -DFREEZES=0
check holds 'hold or pause at any time, 2 images, with freezes'  -DHOLD -DSTRONG -DSETTLED -DN=2
check ends  'hold or pause at any time: every task ends'        -DHOLD -DN=2
quick holds 'the breaker: calls are refused'                    -DREFUSED=2 -DSTRONG -DSETTLED -DN=2 -DFREEZES=0
check holds 'the breaker: calls are refused, 3 images'          -DREFUSED=3 -DSTRONG -DSETTLED -DFREEZES=0
check holds 'the breaker: calls are refused, 2 images, with freezes' -DREFUSED=1 -DSTRONG -DSETTLED -DN=2
check ends  'the breaker: every task ends'                      -DREFUSED=3 -DN=2 -DFREEZES=0
check holds 'a refused DELETE counts as done: the next listing contradicts' -DREFUSED=1 -DNOBREAKERPLAN -DECONOMY $few
quick holds 'attempts, listings that fail'                      -DATTEMPTS=2 -DLISTFAULTS=2 -DSTRONG -DSETTLED -DN=2 -DFREEZES=0
check holds 'attempts, listings that fail, 3 images'            -DATTEMPTS=3 -DLISTFAULTS=2 -DSTRONG -DSETTLED -DFREEZES=0
check holds 'attempts, listings that fail, listing lag'         -DATTEMPTS=2 -DLISTFAULTS=2 -DLAGR=2 -DSETTLED -DN=2 -DFREEZES=0
check holds 'attempts, listings that fail, 2 images, with freezes' -DATTEMPTS=2 -DLISTFAULTS=1 -DSTRONG -DSETTLED -DN=2
check ends  'attempts, listings that fail: every task ends'     -DATTEMPTS=2 -DLISTFAULTS=2 -DN=2 -DFREEZES=0
quick SETTLED 'an end by attempts with something unknown'        -DATTEMPTS=1 -DLISTFAULTS=2 -DNOLISTINGEND -DSETTLED -DN=2 -DFREEZES=0
check SETTLED 'attempts exhausted before it is settled'         -DATTEMPTS=1 -DNOATTEMPTSETTLE -DSETTLED -DFREEZES=0
check P1    'attempts exhausted before it is settled, second task, no rest' -DATTEMPTS=1 -DNOATTEMPTSETTLE -DTASK2 -DNOQUARANTINE -DFREEZES=0 -DN=2
check holds 'cancel, hold, breaker, attempts and failing listings together' -DCANCEL -DHOLD -DREFUSED=1 -DATTEMPTS=2 -DLISTFAULTS=1 -DSTRONG -DSETTLED -DN=2 -DFREEZES=0

# Ablations.
quick P3     'no intent rows'                                   -DNOINTENT
check P1     'no intent rows, effect'                           -DNOINTENT -DONLYP1 -DLATE=4
check holds  'no intent rows, lateness within the lease'        -DNOINTENT -DONLYP1
quick P1     'no settle time'                                   -DNOSETTLE -DN=2
check P1     'settle shorter than lateness'                     -DSETTLE=1
check P1     'rest of an intent shorter than its lateness'      -DLATE=4 -DWORST=5
check P1     'no listing lag in the rest'                       -DLAGR=2 -DNORESTLAG
quick P1     'blind retry of an unknown delete'                 -DBLINDRETRY -DN=2
check P1     'ascending, view not shifted'                      -DASC -DSTALEVIEW
check holds  'ascending, view shifted, honest server'           -DASC -DSTRONG
quick P1     'ascending, one lying success'                     -DASC -DLIE=1
quick P1     'no fencing'                                       -DNOFENCE -DONLYP1 -DN=2
quick P1     'no send deadline'                                 -DNODEADLINE -DN=2
check P1     'freeze between deadline check and write'          -DGAP
quick P1     'identity is the slot; others only while quiet'    -DSLOTID -DFA=1 -DFKINDS=8 -DFQ=1 $few
quick P2     'no verifying listing: economy, lying success'     -DECONOMY -DLIE=1
quick P1     'no wait for the listing lag'                      -DLAGR=2 -DNOLAGWAIT -DN=2
check P1     'late without bound, named'                        -DLATE=99
quick P1     '"did not run" that ran, not listed again after 429' -DLIE=2 -DNORELIST -DN=2
check livelock 'slots slower than the lease, no renewal'        -DSLOWSLOT -DNORENEW
quick livelock 'server always answers 8078, nobody counts'      -DSTICKY -DNOCOUNT8078

# Tail first: all, no others, no settle time, late without bound.
check holds  'tail first, all, no settle, late without bound'   -DALL -DLATE=99 -DNOSETTLE -DSTRONG -DFREEZES=0
check STRONG 'head first, all, no settle, late without bound'   -DALL -DLATE=99 -DNOSETTLE -DSTRONG -DASC
check holds  'tail first, all, a gateway repeats'               -DALL -DDUP -DSTRONG
check P1     'tail first, all, no settle, others append'        -DALL -DNOSETTLE -DFA=1 -DFKINDS=1 $few

# Others, at any time.
check holds     'others append, all, verified'                  -DALL -DFA=1 -DFKINDS=1
check holds     'others append twice, all, until_empty'         -DALL -DUNTIL_EMPTY -DFA=2 -DFKINDS=1 -DN=2 $few
check holds     'others append, named'                          -DFA=1 -DFKINDS=1 $few
check holds     'others delete, all'                            -DALL -DFA=1 -DFKINDS=2 $few
check P1        'others delete, named, verified'                -DFA=1 -DFKINDS=2 $few
check P1        'others delete, named, paranoid'                -DFA=1 -DFKINDS=2 -DPARANOID $few
check holds     'others delete twice, named: noticed'           -DFA=2 -DFKINDS=2 -DNOTICE=1 $few
check P1        'others prepend, all, verified'                 -DALL -DFA=1 -DFKINDS=4 $few
check P1        'others prepend, all, paranoid'                 -DALL -DFA=1 -DFKINDS=4 -DPARANOID $few
check unnoticed 'others prepend, named: noticed?'               -DFA=1 -DFKINDS=4 -DNOTICE=1 $few
check P1        'others replace, all, paranoid'                 -DALL -DFA=1 -DFKINDS=8 -DPARANOID $few
check unnoticed 'others replace, named: noticed?'               -DFA=1 -DFKINDS=8 -DNOTICE=1 $few
check P1        'others append and delete, all'                 -DALL -DFA=2 -DFKINDS=3 -DN=2 $few
check unnoticed 'others append and delete, all: noticed?'       -DALL -DFA=2 -DFKINDS=3 -DN=2 -DNOTICE=1 $few
check holds     'others, any kind, an image once listed: noticed' -DFA=1 -DFKINDS=15 -DNOTICE=2 $few
check holds     'others, any kind, an image once listed: noticed, paranoid' -DFA=1 -DFKINDS=15 -DNOTICE=2 -DPARANOID $few
quick holds     'others, no view and nothing under way, named'  -DFA=1 -DFKINDS=15 -DFQ=1 $few -DN=2
check holds     'others, no view and nothing under way, named, 3 images' -DFA=1 -DFKINDS=15 -DFQ=1 $few
check holds     'others, no view and nothing under way, all'    -DALL -DFA=1 -DFKINDS=15 -DFQ=1 $few
check P1        'others, no view, a DELETE under way, named'    -DFA=1 -DFKINDS=15 -DFQ=2 $few
check P1        'others, no view, a DELETE under way, all'      -DALL -DFA=1 -DFKINDS=15 -DFQ=2 $few

# Listings that go back: a later one may be older than an earlier one.
quick holds 'others append, all, a listing from before what an earlier one showed' -DALL -DN=0 -DLAGR=2 -DFA=1 -DFKINDS=1 -DFQ=1 -DFREEZES=0
quick P2    'a missing target is not looked for twice'               -DALL -DN=0 -DLAGR=2 -DFA=1 -DFKINDS=1 -DFQ=1 -DFREEZES=0 -DNOSECONDLOOK
check P1    'others prepend, named, less than the lag before the listing' -DLAGR=1 -DFA=1 -DFKINDS=4 -DFQ=1 $few -DN=2
check holds 'others, named, what they do is seen at once'                -DLAGR=1 -DFA=1 -DFKINDS=15 -DFQ=1 -DFSEEN $few
check holds 'others, all, what they do is seen at once'                  -DALL -DLAGR=1 -DFA=1 -DFKINDS=15 -DFQ=1 -DFSEEN $few

# One call with all indexes; highest first, at once, or ascending.
quick holds  'batch, 4 images'                                  -DALL -DBATCH -DN=4 -DFREEZES=0 -DSETTLED
check holds  'batch, 4 images, listing lag'                     -DALL -DBATCH -DN=4 -DFREEZES=0 -DSETTLED -DLAGR=2
check holds  'batch, 3 images, only the customer rests for the lag'     -DALL -DBATCH -DFREEZES=0 -DSETTLED -DLAGR=2 -DNOBATCHLAG
check holds  'batch, 4 images, no settle, late without bound'   -DALL -DBATCH -DN=4 -DLATE=99 -DNOSETTLE $few
check holds  'batch, 3 images: two passes are enough'           -DALL -DBATCH -DPASSES=2 -DCRASHES=0 -DLOSSES=0
check passes 'batch, 4 images: two passes are enough?'          -DALL -DBATCH -DN=4 -DPASSES=2 -DCRASHES=0 -DLOSSES=0
check holds  'batch, 5 images: three passes are enough'         -DALL -DBATCH -DN=5 -DPASSES=3 -DCRASHES=0 -DLOSSES=0
check P1     'batch, others append'                             -DALL -DBATCH -DN=2 -DFA=1 -DFKINDS=1 $few

# Beyond the assumptions.
check P1        'a gateway repeats a DELETE, named'             -DDUP
check unnoticed 'a gateway repeats a DELETE: noticed?'          -DDUP -DNOTICE=1
check holds     '"did not run" that ran'                        -DLIE=2 -DFREEZES=0
check holds     '"did not run" that ran: noticed'               -DLIE=2 -DNORELIST -DNOTICE=1 -DFREEZES=0
check P1        'fail-over loses the intent, no pause after it' -DDBLOSS -DNOQUARANTINE
quick holds     'fail-over loses the intent, 2 images'          -DDBLOSS -DN=2 -DFREEZES=0
check holds     'fail-over loses the intent'                    -DDBLOSS
check ends      'server always answers 8078'                    -DSTICKY -DFREEZES=0

while [ "$(jobs -rp | wc -l)" -gt 0 ]; do wait -n; show; done
show
[ "$which" = list ] && exit 0
bad=$(find "$dir" -name differs | wc -l)
echo "$total configurations, $bad not as expected, $SECONDS s"
[ "$total" -gt 0 ] && [ "$bad" = 0 ]
