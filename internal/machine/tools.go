// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

// changeFunctions are the tools of a change. Nothing stops the script but its
// own decision: every command's failure is looked at.
const changeFunctions = `
why= what= out= code=0 swapped= refreshed= heard= released=
try() {
	why=$1 what=$2
	shift 2
	out=$("$@" 2>&1)
	code=$?
	[ "$code" -eq 0 ]
}
# state PATH: what stands there
state() {
	if [ -L "$1" ]; then
		printf 'link %s' "$(readlink "$1")"
	elif [ -f "$1" ]; then
		s=$(sha256sum <"$1")
		printf 'file %s' "${s%% *}"
	elif [ -d "$1" ]; then
		printf directory
	elif [ -e "$1" ]; then
		printf other
	else
		printf none
	fi
}
same() { why=changed what=$1; [ "$(state "$1")" = "$2" ]; }
# into FROM TO: a rename, once the content is on disk: a machine that loses its power has all of it or none
into() { { [ -L "$1" ] || sync "$1"; } && mv -f -T "$1" "$2"; }
put() { rm -f "$1.new" && base64 -d >"$1.new" && into "$1.new" "$1"; }
# stage PATH OWNER:GROUP MODE, content in base64 on standard input
stage() { rm -f "$1" && true >"$1" && chown "$2" "$1" && chmod "$3" "$1" && base64 -d >"$1"; }
copy() { rm -f "$2" && true >"$2" && chown "$3" "$2" && chmod "$4" "$2" && cat <"$1" >"$2"; }
relink() { rm -f "$2" && ln -s "$(readlink "$1")" "$2"; }
saved() { [ -e "$1" ] || [ -L "$1" ]; }
# hold PATH ID: keeps what stands there until the change has come to its end
hold() {
	if saved "$keep/$2.old" || saved "$keep/$2.none"; then return 0; fi
	if [ -L "$1" ]; then
		relink "$1" "$keep/$2.tmp" && into "$keep/$2.tmp" "$keep/$2.old"
	elif [ -f "$1" ]; then
		cp -p "$1" "$keep/$2.tmp" && into "$keep/$2.tmp" "$keep/$2.old"
	else
		true >"$keep/$2.none"
	fi
}
# back PATH ID STAGE: undoes what hold began
back() {
	rm -f "$3"
	if [ -L "$keep/$2.old" ]; then
		relink "$keep/$2.old" "$3" && into "$3" "$1"
	elif [ -f "$keep/$2.old" ]; then
		cp -p "$keep/$2.old" "$3" && into "$3" "$1"
	elif [ -f "$keep/$2.none" ]; then
		rm -f "$1"
	fi
}
# save PATH ID: keeps an original, once, until it comes back
save() {
	if saved "$keep/$2.original"; then return 0; fi
	if [ -L "$1" ]; then
		relink "$1" "$keep/$2.tmp" && into "$keep/$2.tmp" "$keep/$2.original"
	elif [ -f "$1" ]; then
		copy "$1" "$keep/$2.tmp" root:root 0600 && into "$keep/$2.tmp" "$keep/$2.original"
	fi
}
# restore PATH ID STAGE OWNER:GROUP MODE: an original that was not saved still stands there
restore() {
	if [ -L "$keep/$2.original" ]; then
		relink "$keep/$2.original" "$3" && into "$3" "$1"
	elif [ -f "$keep/$2.original" ]; then
		copy "$keep/$2.original" "$3" "$4" "$5" && into "$3" "$1"
	fi
}
# account NAME HOME: a user of the system; a group of its name may be there without it
account() {
	if getent passwd "$1" >/dev/null; then return 0; fi
	home=$2 with=--user-group
	if getent group "$1" >/dev/null; then with="--gid $1"; fi
	usual useradd --system $with --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$1"
}
# perhaps COMMAND...: that there is no such program is no failure
perhaps() { "$@" || [ $? -eq 127 ]; }
makedir() { [ -d "$1" ] || mkdir "$1"; }
# own PATH REAL OWNER MODE: goes there first, so that whoever may write above cannot lay a link to another directory
own() (
	cd "$1" || exit 1
	if [ -n "$2" ] && [ -d "/proc/$$" ] && [ "$(readlink /proc/self/cwd)" != "$2" ]; then
		echo "it is not at $2 any more"
		exit 1
	fi
	if [ -n "$3" ]; then chown "$3" . || exit 1; fi
	[ -z "$4" ] || chmod "$4" .
)
# unit VERB UNIT
unit() {
	if timeout 100 systemctl "$1" "$2"; then return 0; fi
	journalctl -u "$2" -n 10 -o cat --no-pager
	return 1
}
trigger() { if systemctl is-active -q "$2"; then unit "$1" "$2"; fi; }
start() {
	if systemctl is-active -q "$1"; then return 0; fi
	systemctl reset-failed "$1" 2>/dev/null
	unit start "$1"
}
alive() {
	case $(systemctl is-active "$1") in
	active | activating | reloading | refreshing) return 0 ;;
	esac
	echo "it does not run"
	journalctl -u "$1" -n 10 -o cat --no-pager
	return 1
}
# patient SECONDS WANT MATCH COMMAND...: a probe until it succeeds or the time is over
patient() {
	limit=$(($(date +%s) + $1)) tries=$(($1 * 5 + 1))
	shift
	until ask "$@"; do
		tries=$((tries - 1))
		if [ "$tries" -le 0 ] || [ "$(date +%s)" -ge "$limit" ]; then
			printf '%s' "$got" | tail -c 2000
			return 1
		fi
		sleep 0.2
	done
}
report() {
	echo "@$1"
	printf '%s' "$what" | base64
	echo @output
	printf '%s' "$out" | tail -c 6000 | base64
	echo @end
}
`
