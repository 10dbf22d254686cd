// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"net/url"
	"slices"
	"strings"
)

// downloadJob is the script of a transient unit that brings one artifact to
// where the change that puts it into its place finds it. What has that name is
// whole and was checked. It says in one line why it failed.
const downloadJob = `umask 077
url=$1 want=$2 member=$3 unpack=$4 to=$5
fail() {
	rm -f "$to.part" "$to.member"
	printf '%s\n' "$1"
	exit 1
}
true >"$to.part" || exit 1
said=$(curl -fsSL --proto =http,https --connect-timeout 10 --max-time 1800 -o "$to.part" -- "$url" 2>&1) || fail "${said:-curl ended with exit code $?}"
got=$(sha256sum <"$to.part")
got=${got%% *}
[ "$got" = "$want" ] || fail "the SHA-256 of what it gives is $got, want $want"
if [ -n "$member" ]; then
	said=$(tar "$unpack" "$to.part" "$member" 2>&1 >"$to.member") || fail "${said:-tar ended with exit code $?}"
	[ -s "$to.member" ] || fail "its member $member is empty"
	mv -f -T "$to.member" "$to.part" || exit 1
fi
sync "$to.part" && mv -f -T "$to.part" "$to"
`

// downloaders are the packages that a machine needs for a download.
var downloaders = []string{"ca-certificates", "curl"}

// staged is where an artifact waits for its turn: for root alone, and gone with
// the next change that comes to its end.
func (a *Artifact) staged(owner Owner) string {
	return owner.keep() + "/" + shortHash([]byte(a.SHA256+"\x00"+a.Member)) + ".download"
}

// script is the job for an artifact. The values stand in it, as systemd would
// read signs of its own in arguments.
func (a *Artifact) script(owner Owner) string {
	unpack := "-xOf"
	if u, err := url.Parse(a.URL); err == nil && (strings.HasSuffix(u.Path, ".gz") || strings.HasSuffix(u.Path, ".tgz")) {
		unpack = "-xzOf"
	}
	var s script
	s.line("export LC_ALL=C PATH=%s", word(searchPath))
	s.line("set -- %s", words([]string{a.URL, a.SHA256, a.Member, unpack, a.staged(owner)}))
	s.WriteString(downloadJob)
	return s.String()
}

// toDownload are the artifacts and archives that are neither in their places
// nor waiting.
func (p *planner) toDownload() []*Artifact {
	var list []*Artifact
	for _, f := range p.files {
		if f.source != nil && f.from == "" {
			list = append(list, f.source)
		}
	}
	for _, g := range p.images {
		if a := g.source(); a != nil && g.id == "" && p.seen.NoEngine == "" && !p.waits(a) {
			list = append(list, a)
		}
	}
	return list
}

// downloader are the packages that downloads need beside those of the State:
// those that we have for it, and those that a download lacks.
func (p *planner) downloader() []string {
	if !p.want.downloads() {
		return nil
	}
	lacks := !p.seen.curl && len(p.toDownload()) > 0
	return slices.DeleteFunc(slices.Clone(downloaders), func(name string) bool {
		return !lacks && p.seen.record.pkg(name) == nil
	})
}

// download are the steps that bring what is missing, one at a time.
func (p *planner) download() []Step {
	var steps []Step
	taken := map[string]bool{}
	for _, a := range p.toDownload() {
		if at := a.staged(p.owner); taken[at] {
			continue // for two places
		}
		taken[a.staged(p.owner)] = true
		what := "download " + a.URL
		j := job{p: p, key: strings.Join([]string{"download", a.URL, a.SHA256, a.Member}, " "), what: what, text: a.script(p.owner)}
		steps = append(steps, Step{
			Reason: ReasonInstall, Message: what, Do: j.do,
			Changes: []Change{{What: what, To: "sha256:" + a.SHA256[:12], Impact: ImpactNone}},
		})
	}
	return steps
}
