// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

// folderFunctions are the tools of a commit to a folder. An entry is the files
// whose names begin with its prefix and a dot; those that change are numbered
// from 0 to n. What a commit needs stands in a folder beside: new, old, go (on
// the way to their place), entries (from when on the old ones are to come back)
// and settled (from when on the new ones are to stay).
const folderFunctions = `
n=0 first=0 mended='|' wrong= tried= swapped= heard= base= failed= undone=yes out=
# filed PATH: something stands there that is no directory
filed() { [ -L "$1" ] || { [ -e "$1" ] && [ ! -d "$1" ]; }; }
# busy: whether a commit runs, by its claim in the lock: its process, where that can be seen, and until when it may take
busy() {
	for claim in "$lock"/*; do
		until=${claim##*-} holder=${claim##*/}
		if [ -e "$claim" ] && [ "$until" -gt "$(date +%s)" ] && { [ ! -d "/proc/$$" ] || [ -d "/proc/${holder%-*}" ]; }; then return 0; fi
	done
	return 1
}
# free: an earlier commit may still run, of a connection that was cut
free() {
	tries=100
	while busy; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.1
	done
}
# enter SECONDS: takes the lock. It is a folder with one claim in it, which nobody can replace while it is there; a claim
# has a name of its own, so that who takes away that of one who is gone never takes away another
enter() {
	now=$(date +%s) tries=100
	mine=$$-$((now + $1))
	mkdir -p "$lock.$$" && true >"$lock.$$/$mine" || return 2
	until mv -T "$lock.$$" "$lock" 2>/dev/null; do
		if [ "$tries" -le 0 ]; then
			rm -rf "$lock.$$"
			return 1
		fi
		tries=$((tries - 1))
		if busy; then sleep 0.1; else rm -f "$claim"; fi
	done
}
# note PREFIX MARK: one more entry
note() {
	eval "name_$n=\$1 mark_$n=\$2 end_$n= why_$n="
	n=$((n + 1))
}
load() {
	while read -r prefix mark; do note "$prefix" "$mark"; done <"$1"
}
# become FROM TO FIRST END [MARK]: of the entries from FIRST to before END, with this mark, the files in TO become those in FROM
become() {
	from=$1 to=$2 begin=$3 end=$4 only=$5 i=$3
	set --
	while [ "$i" -lt "$end" ]; do
		eval "name=\$name_$i mark=\$mark_$i"
		i=$((i + 1))
		if [ -n "$only" ] && [ "$only" != "$mark" ]; then continue; fi
		for f in "$from/$name".*; do
			if filed "$f"; then set -- "$@" "$f"; fi
		done
	done
	if [ $# -gt 0 ]; then
		[ -d "$to" ] || [ "$to" = "$path" ] || mkdir "$to" || return 1
		if ! { cp -P -p -t "$work/go" "$@" && mv -f -t "$to" "$work/go"/*; }; then
			rm -rf "$work/go"/*
			return 1
		fi
	fi
	set --
	i=$begin
	while [ "$i" -lt "$end" ]; do
		eval "name=\$name_$i mark=\$mark_$i"
		i=$((i + 1))
		if [ -n "$only" ] && [ "$only" != "$mark" ]; then continue; fi
		for f in "$to/$name".*; do
			if filed "$f" && ! filed "$from/${f##*/}"; then set -- "$@" "$f"; fi
		done
	done
	[ $# -eq 0 ] || rm -f "$@"
}
# mend: a commit that was killed, or of which nobody heard, is brought to its end or undone; who is concerned takes part again
mend() {
	[ -d "$work" ] || return 0
	out=$({ rm -rf "$work/go" && mkdir "$work/go"; } 2>&1) || return
	if [ -f "$work/settled" ]; then
		load "$work/settled"
		out=$(settle 2>&1) || return
		n=0
	elif [ -f "$work/entries" ]; then
		load "$work/entries"
		out=$(become "$work/old" "$path" 0 "$n" 2>&1) || return
		first=$n swapped=yes
		while read -r prefix mark; do mended="$mended$prefix|"; done <"$work/entries"
		ended 0 "$n" mended
	fi
	tidy
}
# tidy: what says that something is to be done goes first
tidy() { rm -rf "$work/settled" "$work/entries" "$work" "$@"; }
# leave: gives the lock back, unless another has it
leave() {
	if [ "$undone" = yes ]; then tidy "$lock/$mine"; else rm -f "$lock/$mine"; fi
	rmdir "$lock" 2>/dev/null
}
put() { printf '%s' "$2" >"$work/new/$1"; }
# bring PREFIX: stages what is kept
bring() {
	for f in "$previous/$1".*; do
		if [ -f "$f" ] && [ ! -L "$f" ]; then cp -p "$f" "$work/new/${f##*/}" || return 1; fi
	done
}
# give OWNER:GROUP MODE: nobody else gets to the staged files before they are as they are to be
give() {
	for f in "$work/new"/*; do
		if filed "$f"; then
			chown "$1" "$work/new"/* && chmod "$2" "$work/new"/*
			return
		fi
	done
}
# strange: the files that have another mode or owner than the staged ones
strange() {
	for f in "$work/new"/*; do
		if filed "$f"; then
			echo "known"
			stat -c '%a:%u:%g|%n|' "$path"/* 2>/dev/null | grep -v "^$(stat -c '%a:%u:%g' "$f")|"
			return 0
		fi
	done
}
# same PREFIX: it is in the folder as it is staged
same() {
	for f in "$path/$1".*; do
		if filed "$f" && ! filed "$work/new/${f##*/}"; then return 1; fi
	done
	for f in "$work/new/$1".*; do
		if filed "$f"; then
			at=$path/${f##*/}
			if [ -L "$at" ] || [ ! -f "$at" ] || ! cmp -s "$f" "$at"; then return 1; fi
			wrong=${wrong:-$(strange)}
			case $wrong in
			*"|$at|"*) return 1 ;;
			esac
		fi
	done
}
# forget PREFIX: what is kept of it goes
forget() {
	for f in "$previous/$1".*; do
		if filed "$f"; then rm -f "$f"; fi
	done
}
# entry ID PREFIX MARK: takes part if it is to change; what was there is to be kept (keep), what is kept is to go (drop)
entry() {
	case $mended in
	*"|$2|"*) ;;
	*)
		if same "$2"; then
			if [ "$3" = drop ]; then forget "$2"; fi
			echo "@same $1"
			return
		fi
		;;
	esac
	eval "id_$n=\$1"
	note "$2" "$3"
}
# kept ID PREFIX: says whether something is kept
kept() {
	for f in "$previous/$2".*; do
		if [ -f "$f" ] && [ ! -L "$f" ]; then
			echo "@kept $1"
			return
		fi
	done
}
# listed FILE: writes down the entries with their marks, each once although it takes part again
listed() {
	if [ "$first" -gt 0 ]; then
		lines | sort -u >"$1.new"
	else
		lines >"$1.new"
	fi && mv -f -T "$1.new" "$1"
}
lines() {
	i=0
	while [ "$i" -lt "$n" ]; do
		eval "printf '%s %s\n' \"\$name_$i\" \"\$mark_$i\""
		i=$((i + 1))
	done
}
journal() {
	become "$path" "$work/old" 0 "$n" && listed "$work/entries"
}
# ended FIRST END HOW
ended() {
	i=$1
	while [ "$i" -lt "$2" ]; do
		eval "end_$i=\$3"
		if [ "$3" != done ]; then eval "mark_$i=out"; fi
		i=$((i + 1))
	done
}
# attempt FIRST END: the entries get in together or, if that is refused, each half for itself
attempt() {
	if [ -n "$tried" ] && [ "$(date +%s)" -gt "$stop" ]; then
		ended "$1" "$2" late
		return 0
	fi
	tried=yes
	out=$(become "$work/new" "$path" "$1" "$2" 2>&1) || return 1
	if check; then
		base=good swapped=yes
		ended "$1" "$2" done
		return 0
	fi
	why=$out
	out=$(become "$work/old" "$path" "$1" "$2" 2>&1) || return 1
	set -- "$1" "$((($1 + $2) / 2))" "$2"
	if [ "$1" -lt "$2" ]; then
		attempt "$1" "$2" && attempt "$2" "$3"
		return
	fi
	if [ -z "$base" ]; then
		base=good
		check || base=bad
	fi
	ended "$1" "$3" "$base"
	eval "why_$1=\$why"
}
# settle: what is to be kept, and no longer
settle() {
	become "$work/old" "$previous" 0 "$n" keep && become "$work/none" "$previous" 0 "$n" drop
}
commit() {
	failed=write undone=no
	mend || return
	undone=yes
	out=$(stage 2>&1) || return
	entries
	failed=
	[ "$n" -gt 0 ] || return
	failed=write
	out=$(journal 2>&1) || return
	[ "$n" -eq "$first" ] || attempt "$first" "$n" || return
	failed=
	[ -n "$swapped" ] || return
	heard=yes failed=refresh
	refresh || return
	failed=write
	out=$(listed "$work/settled" 2>&1) || return
	failed=
	settle >/dev/null 2>&1 || undone=no # the next commit does
}
undo() {
	[ -f "$work/entries" ] || return
	told=$out
	become "$work/old" "$path" 0 "$n" >/dev/null 2>&1 || undone=no
	if [ -n "$heard" ]; then refresh || undone=no; fi
	out=$told
}
words() { printf '%s' "$1" | tail -c 6000 | base64; }
report() {
	i=$first
	while [ "$i" -lt "$n" ]; do
		eval "end=\$end_$i id=\$id_$i why=\$why_$i"
		i=$((i + 1))
		echo "@${end:-none} $id"
		[ -z "$why" ] || words "$why"
	done
	if [ -n "$failed" ]; then
		echo "@failed $failed $undone"
		words "$out"
	fi
}
# list MOST: the files, unless they are more than that
list() {
	most=$1
	cd "$path" || return
	set -- * .[!.]*
	if [ $# -gt "$most" ]; then return; fi
	echo @files
	timeout 60 sha256sum -- "$@" 2>/dev/null
	echo @links
	for f; do
		if [ -L "$f" ]; then printf '=%s\n' "$f"; fi
	done
	echo @strange
	stat -c "$form|=%n" -- "$@" 2>/dev/null | grep -v "^$wanted|"
	echo @previous
	if cd "$previous" 2>/dev/null; then timeout 60 sha256sum -- * 2>/dev/null; fi
	if [ -f "$work/entries" ] && [ ! -f "$work/settled" ]; then
		echo @unsettled
		cut -d ' ' -f 1 <"$work/entries"
		echo @old
		for f in "$work/old"/*; do
			if filed "$f"; then printf '=%s\n' "${f##*/}"; fi
		done
	fi
	echo @listed
}
`
