// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package compose reads compose texts: it refuses what cannot work when nothing but the text reaches the engine, says what
// containers a text asks for, and makes the text that is sent to Portainer.
//
// It is pure: it reads no file and no environment variable, writes no log, and calls nobody. Variables stay in the text
// that is sent, so that their values, which may be secret, do not; they are filled in only to check the text and to say
// what it asks for. No error holds a value.
package compose

import (
	"strings"
)

// OwnerLabel is the label of every container that says to which stack it belongs.
const OwnerLabel = labelPrefix + "stack"

// FilesLabel is the label of containers that are given configs or secrets whose content is not a file of their machine. It
// is a hash of that content: compose makes a container anew when its labels change, and does not when the content does.
const FilesLabel = labelPrefix + "files"

const labelPrefix = "phoenix-hypervisor.io/"

// Pull policies: when an engine fetches an image.
const (
	PullAlways  = "always"  // before every deployment
	PullMissing = "missing" // when the engine lacks it: the default
	PullNever   = "never"   // the engine must have it
)

// Input is a compose text with all that it is filled with.
type Input struct {
	// Text as the user wrote it: at most 1 MiB.
	Text []byte
	// Project is the name of the stack, as Normalise leaves it.
	Project string
	// Values of the variables in the text. COMPOSE_PROFILES names the profiles that are on, as it does for compose.
	Values map[string]string
	// Configs are contents of configs of the text, by their names: UTF-8, not empty, at most 1 MiB each.
	Configs map[string][]byte
	// Labels of every container, in place of those of the same keys in the text.
	Labels map[string]string
	// PullPolicy of every service, in place of what the text says. Empty: what the text says.
	PullPolicy string
	// Owner is the value of OwnerLabel on every container. Empty: no such label.
	Owner string
}

// Project is what a text asks for.
type Project struct {
	// Text that is sent: the user's with sorted keys, without comments, anchors and merges, with the configs, labels and pull
	// policy of the Input. Texts that mean the same have the same Text, byte by byte. Of the Values only those change it that
	// become the content of a config or secret (FilesLabel).
	Text string
	// Services by name, those that are not started too.
	Services []Service
	// Volumes that are declared, by their names in the text.
	Volumes []Volume
	// Images of the services that a profile does not switch off, by name, each once.
	Images []Image
	// Variables that the text uses, by name, those with defaults and of defaults too.
	Variables []string
}

// Service is a service of a project.
type Service struct {
	Name       string
	Image      string // with the values filled in
	PullPolicy string // PullAlways, PullMissing or PullNever
	Containers int    // that should run; 0: none is started, for its profiles or its replicas
	Ports      []Port // published ones; none where an engine publishes none: with network_mode host or none, in internal networks
	// Healthcheck says that the text has one. Without it the image may still have its own.
	Healthcheck bool
	// OneShot says that a container which ended with 0 stays so, as its restart policy is no (the default) or on-failure,
	// and it neither publishes a port nor has a health check: an exit with 0 is as good as running.
	OneShot bool
}

// Port is a port of a service on the engine's machine.
type Port struct {
	Address   string // as the engine writes it; empty: all of the machine's
	Target    int    // in the container
	Published int    // on the machine; 0: the engine picks one
	Through   int    // the last port of a range that begins with Published, of which the engine picks one; 0: no range
	Protocol  string // tcp, udp or sctp
}

// Volume is a named volume.
type Volume struct {
	Short    string // its name in the text
	Name     string // its name on the engine
	External bool   // it must be there before, and compose never makes or removes it
}

// Image is an image that services need.
type Image struct {
	Name       string
	PullPolicy string // of its services, the one that pulls most
}

// Parse reads a text. It returns an error when compose would refuse it, when it asks for what is not there (a folder to
// build, a file beside it, a variable without a value), or when it exceeds the bounds: up to ten *Error, joined, by line.
func Parse(in Input) (*Project, error) {
	p := &parser{Input: in}
	p.read()
	for _, next := range []func(){p.refuse, p.useVariables, p.addAll, p.model, p.check, p.verify} {
		if len(p.problems) > 0 {
			return nil, p.join()
		}
		next()
	}
	if len(p.problems) > 0 {
		return nil, p.join()
	}
	return p.result(), nil
}

// Normalise makes of a name what compose and Portainer make of it when a project is called so: "My-App" becomes "my-app".
// The result can be empty.
func Normalise(name string) string {
	kept := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	return strings.TrimLeft(kept, "-_")
}

// Same says whether two texts mean the same: they differ in white space, line ends, comments, the order of keys, quotes or
// anchors at most. Texts that cannot be read are the same when their lines are.
func Same(a, b string) bool {
	treeA, problemsA := readTree([]byte(a))
	treeB, problemsB := readTree([]byte(b))
	if len(problemsA) > 0 || len(problemsB) > 0 {
		return len(problemsA) > 0 && len(problemsB) > 0 && lines(a) == lines(b)
	}
	return treeA.equal(treeB)
}

// lines is a text without what ends its lines.
func lines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \t\r\n"))
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n")
}
