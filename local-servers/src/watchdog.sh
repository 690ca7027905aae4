# Runs a command that must not outlive the fleet.
#
#   sh -c "$(cat watchdog.sh)" watchdog SIGNAL RUBBISH COMMAND [ARGUMENT..]
#
# Standard input is a pipe whose other end only the fleet holds: its end is the fleet's end, even by SIGKILL.
# Then COMMAND gets SIGNAL, 60 seconds later SIGKILL, and RUBBISH (a folder, or nothing) is removed.
# If COMMAND ends by itself the watchdog ends with its status at once, and RUBBISH stays.
signal=$1 rubbish=$2
shift 2
exec 3<&0 </dev/null

"$@" 3<&- &
child=$!

(
    while read -r _; do :; done <&3
    trap '' TERM
    kill -s "$signal" "$child"
    tenths=0
    while kill -s 0 "$child" && [ "$tenths" -lt 600 ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
    kill -s KILL "$child"
    true
) 2>/dev/null &
guard=$!

# Only the pipe ends what runs here. Set after both were started: an ignored signal is inherited, and a JVM that
# finds SIGTERM ignored keeps it so.
trap '' HUP INT TERM
exec 3<&-

wait "$child"
status=$?
kill -s TERM "$guard" 2>/dev/null
# The guard was killed at its post, unless the pipe had ended: then it finishes its work and reports success.
if wait "$guard" 2>/dev/null && [ -n "$rubbish" ]; then
    rm -rf -- "$rubbish"
fi
exit "$status"
