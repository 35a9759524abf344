# SPDX-License-Identifier: Apache-2.0
# The main job on the clinic, step by step; sourced by quickstart.  What differs from engine to engine is in
# show_sqlite.sh and show_postgres.sh:
#   db_check        refuses a database that it may not use; sets url and prefix, the tables' schema
#   db_clear        takes away what an earlier run made beside the clinic
#   db_size         bytes of the whole database          db_cells     bytes of its sealed cells
#   db_plain        one patient, in plaintext            db_inject    what SQL injection finds, and how
#   db_backup       makes a backup, says what it is      db_restore   reads a patient out of it
#   db_written      what else the rotation wrote, if the engine tells
#   protect_options, rotate_options   what those commands are given beside the columns

coffer=$root/build/coffer
clinic=$(realpath "$root/build/examples/clinic/clinic")
data=$root/quickstart-data
keys=(--keyring k.coffer --kek file:kek.bin)
protect_options=(--duty 0.25) rotate_options=(--duty 0.25)
traffic=''

# ---- the screen ----

width=$(tput cols 2>/dev/null || echo 80)
[ "$width" -ge 40 ] 2>/dev/null || width=80
[ "$width" -le 120 ] || width=120
width=$((width - 2)) # names in wide characters

wrap() { # INDENT HANG COLOUR TEXT: broken at spaces; the first line is INDENT in, the others HANG
    local word line='' room=$((width - $1)) pad=$1
    set -f
    for word in $4; do
        if [ -n "$line" ] && [ $((${#line} + 1 + ${#word})) -gt "$room" ]; then
            printf '%*s%s%s%s\n' "$pad" '' "$3" "$line" "$off"
            line='' pad=$2 room=$((width - $2))
        fi
        line+=${line:+ }$word
    done
    set +f
    printf '%*s%s%s%s\n' "$pad" '' "$3" "$line" "$off"
}
fact() { wrap 3 5 "$green" "$*"; }
note() { wrap 3 5 "$dim" "$*"; }
plain() { wrap 3 5 '' "$*"; }
lines() { # of a command, each as far in as it was
    local line spaces
    while IFS= read -r line; do
        spaces=${line%%[! ]*}
        wrap $((3 + ${#spaces})) $((5 + ${#spaces})) '' "$line"
    done
}

grouped() { # 1234567 as 1 234 567
    local n=$1 out=''
    while [ ${#n} -gt 3 ]; do out=" ${n: -3}$out" n=${n:0:${#n}-3}; done
    printf '%s' "$n$out"
}
bytes() {
    if [ "$1" -lt 1048576 ]; then printf '%d KiB' $((($1 + 1023) / 1024)); else
        printf '%d.%d MiB' $(($1 / 1048576)) $(($1 % 1048576 * 10 / 1048576))
    fi
}
ms() { printf '%d.%02d ms' $(($1 / 1000)) $(($1 % 1000 / 10)); }

# ---- the clinic at work ----

number() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" <<<"$1"; }

figures() { # the clinic's, since it was asked last
    local before
    before=$(grep -c p99_us traffic.out || true)
    kill -USR1 "$traffic" 2>/dev/null || clinic_stopped
    for _ in $(seq 100); do
        [ "$(grep -c p99_us traffic.out || true)" -gt "$before" ] && break
        sleep 0.1
    done
    grep p99_us traffic.out | tail -n 1
}
clinic_stopped() { tail -3 traffic.err >&2; fail "the clinic stopped"; }
clinic_start() {
    "$clinic" traffic "$url" k.coffer file:kek.bin 2 >traffic.out 2>traffic.err &
    traffic=$!
    echo $traffic >traffic.pid
    trap 'kill $traffic 2>/dev/null || true' EXIT
    for _ in $(seq 600); do
        grep -q serving traffic.out && return
        [ -d "/proc/$traffic" ] || break
        sleep 0.1
    done
    clinic_stopped
}
clinic_stop() {
    kill "$traffic"
    wait "$traffic" || { tail -3 traffic.err >&2; fail "the clinic saw a failure"; }
    trap - EXIT
}
said() { # figures as a fact; a request that failed ends the show
    fact "$(grouped "$(number "$1" requests)") requests meanwhile, $(number "$1" failed) failed, $(number "$1" wrong) wrong"
    [ "$(number "$1" failed)$(number "$1" wrong)" = 00 ] || clinic_stopped
}

# ---- Coffer's events: steps as lines, progress as one line that moves ----
# Where there are companions to fill, the clinic begins to work with the first of them.

shopt -s lastpipe # watch starts the clinic, which is a child of this shell

bar() { # STEP DONE TOTAL RATE
    local percent=$(($3 > 0 ? $2 * 100 / $3 : 0)) cells served='' text full='' empty=''
    [ $percent -le 100 ] || percent=100
    for ((cells = 0; cells < 15; cells++)); do
        if [ $((cells * 100)) -lt $((percent * 15)) ]; then full+=█; else empty+=░; fi
    done
    text=$(printf '   %-7s%s%s%s%s %3d %%' "$1" "$green" "$full" "$off" "$empty" $percent)
    [ "$4" -eq 0 ] || text+=$(printf ' %7s rows/s' "$(grouped "$4")")
    if [ -n "$traffic" ]; then
        kill -USR2 "$traffic" 2>/dev/null || true
        served=$(grep so_far traffic.out | tail -n 1) || true
    fi
    [ -z "$served" ] || text+="; $(grouped "$(number "$served" requests)") served, $(number "$served" failed) failed"
    printf '\r\e[K%s' "$text"
}
event_line() { # STEP TEXT
    local text
    text=$(wrap 12 12 '' "$2")
    printf '   %s%-9s%s%s\n' "$bold" "$1" "$off" "${text:12}"
}
# What a step begins to do is said until it is known what it did.
watch() {
    local line kind step text last=0 begun='' event='^\{"event":"([a-z]+)","step":"([a-z]*)","text":"(.*)"\}$'
    local progress='"progress","step":"([a-z]*)".*"done":([0-9]+),"total":([0-9]+),"rows_per_second":([0-9]+)'
    while IFS= read -r line; do
        if [[ $line =~ $progress ]]; then
            [ -t 1 ] && [ $((${EPOCHREALTIME/[.,]/} - last)) -gt 400000 ] || continue
            last=${EPOCHREALTIME/[.,]/}
            bar "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}" "${BASH_REMATCH[4]}"
        elif [[ $line =~ $event ]]; then
            kind=${BASH_REMATCH[1]} step=${BASH_REMATCH[2]} text=${BASH_REMATCH[3]//\\\"/\"}
            [[ -n $traffic || $text != 'one row was sealed'* ]] || clinic_start
            [ "$step" != plan ] || continue # it is for people who have one to make
            [ ! -t 1 ] || printf '\r\e[K'
            [ -z "$begun" ] || [ "${begun%% *}" = "$step" ] || event_line "${begun%% *}" "${begun#* }"
            begun=''
            case $kind in
            step)
                begun="$step $text"
                [ ! -t 1 ] || printf '   %s%-9s%s%.*s' "$bold" "$step" "$off" $((width - 12)) "$text"
                ;;
            wait) event_line "$step" "waiting: $text" ;;
            *) event_line "$step" "$text" ;;
            esac
        fi
    done
    [ ! -t 1 ] || printf '\r\e[K'
    [ -z "$begun" ] || event_line "${begun%% *}" "${begun#* }"
}
work() { # a command of Coffer's, watched
    "$coffer" "$@" "${keys[@]}" --json --yes 2>work.err | watch || { tail -5 work.err >&2; fail "coffer $1 failed"; }
}

# ---- starting over ----

clear_away() {
    local pid
    if [ -f "$data/traffic.pid" ]; then
        pid=$(cat "$data/traffic.pid")
        # The number may be somebody else's by now.
        if [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$clinic" ]; then
            kill "$pid"
            while [ -d "/proc/$pid" ]; do sleep 0.1; done
        fi
    fi
    if [ -f "$data/k.coffer" ] && [ -f "$data/kek.bin" ]; then
        [ "$("$coffer" keyring show --keyring "$data/k.coffer" --kek "file:$data/kek.bin" --json 2>/dev/null |
            grep -o '"engine"' | wc -l)" -le 1 ] ||
            fail "quickstart-data/k.coffer protects other databases too: move quickstart-data away first"
    fi
    serve_stop
    db_clear
    rm -rf --one-file-system "$data"
    mkdir -m 700 "$data"
    cd "$data"
}

# ---- the nine steps ----

show_protect() {
    step "3  Protecting six columns of four types while the clinic works"
    columns=()
    for c in patients.ssn patients.born patients.email patients.notes labs.value invoices.amount; do
        columns+=("$prefix$c")
    done
    plain "${columns[*]}"
    work protect --shadow-only "$url" "${columns[@]}"
    [ -n "$traffic" ] || clinic_start
    [ ${#protect_options[@]} -eq 0 ] || note "with ${protect_options[*]}"
    work protect "$url" "${columns[@]}" "${protect_options[@]}"
    said "$(figures)"
}

show_rotate() {
    local calm during before after
    step "6  A new key while the clinic works"
    old=$("$coffer" key list "${keys[@]}" --json | tr '{' '\n' | grep '"field"' | grep '"active"' |
        sed -n 's/.*"id": *"\([0-9a-f]*\)".*/\1/p')
    figures >/dev/null
    sleep 3
    calm=$(figures)
    before=$(db_size) written_before=$(db_written)
    [ ${#rotate_options[@]} -eq 0 ] || note "with ${rotate_options[*]}"
    work rotate "$url" "${rotate_options[@]}"
    during=$(figures)
    size=$before written=$(($(db_written) - written_before))
    said "$during"
    fact "p50 $(ms "$(number "$calm" p50_us)") before, $(ms "$(number "$during" p50_us)") during;" \
        "p99 $(ms "$(number "$calm" p99_us)") before, $(ms "$(number "$during" p99_us)") during"
}

show_proof() {
    step "7  Is the old key gone?"
    "$coffer" keyring show "${keys[@]}" --audit-key >pub.pem
    "$coffer" prove "${keys[@]}" "$url" "$old" --out cert.json >/dev/null
    "$coffer" prove --verify cert.json --audit-key pub.pem >cert.txt
    sed -n 's/^ *\(column [^(]*[^( ]\) *(.*/\1/p; s/^ *note: /note: /p; /^Valid/p' cert.txt | lines
    note "coffer key destroy $old"
    if "$coffer" key destroy "${keys[@]}" --yes "$old" >destroy.err 2>&1; then fail "the destroy guard failed"; fi
    fact "Refused.  coffer key why $old:"
    "$coffer" key why "${keys[@]}" "$old" >why.txt
    lines <why.txt
}

show_main_job() {
    db_check
    clear_away

    step "1  The clinic: $(grouped "$rows") patients, with laboratory values and invoices"
    "$clinic" make "$url" "$rows" 1
    fact "$(bytes "$(db_size)") of plaintext in $shown_url: $(db_plain)"

    step "2  A keyring, outside the database"
    "$coffer" keyring init "${keys[@]}" >/dev/null
    fact "k.coffer, its keys wrapped under kek.bin: $("$coffer" key list "${keys[@]}" | tail -n +2 | wc -l) keys"

    show_protect

    step "4  What SQL injection finds, and what the application sees"
    db_inject
    fact "$(coffer_row "$url")"

    step "5  A backup, registered"
    local began; began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    db_backup
    "$coffer" backup register "${keys[@]}" "$url" nightly --start "$began" >/dev/null
    fact "$backup, known to the keyring as \"nightly\""

    show_rotate
    show_proof

    step "8  The backup still opens, under $old from escrow"
    db_restore

    step "9  What it cost"
    fact "$(bytes "$(db_cells)") of cells re-encrypted$([ "$written" -eq 0 ] || printf ', %s of WAL written, the clinic'\''s own included' "$(bytes "$written")");" \
        "the whole database, which a new disk key rewrites, is $(bytes "$size")"
    clinic_stop
}

coffer_row() { # URL [OPTION]: one patient, as whoever holds the keyring sees it
    "$coffer" cat "${keys[@]}" "${@:2}" "$1" "${prefix}patients" --where 'id=3' --format csv | cut -d, -f1-4 | tail -1
}
