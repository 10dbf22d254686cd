// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
)

// parser is one run of Parse.
type parser struct {
	Input
	problems
	tree  *node           // the user's text, then with all that is added
	used  map[string]bool // variables
	text  string          // that is sent
	typed *types.Project
}

func (p *parser) read() {
	p.tree, p.problems = readTree(p.Text)
}

// substitute fills in the variables of a value.
func (p *parser) substitute(value string) (string, error) {
	return template.SubstituteWithOptions(value, p.lookup, template.WithoutLogging)
}

// model lets compose read the text that will be sent, with the values filled in.
func (p *parser) model() {
	if p.checkRanges(); len(p.problems) > 0 {
		return
	}
	var err error
	if p.text, err = p.tree.write(); err == nil {
		err = p.checkText()
	}
	if err != nil {
		p.add(0, "", "%v", err)
		return
	}
	project, err := p.load(true)
	if err != nil {
		p.blame(err)
		return
	}
	p.typed = project
}

// checkText makes sure that the text which is sent means what the user's does.
func (p *parser) checkText() error {
	again, problems := readTree([]byte(p.text))
	switch {
	case len(p.text) > maxSent:
		return fmt.Errorf("the text has %d bytes with its configs and anchors: it must not exceed %d", len(p.text), maxSent)
	case len(problems) > 0:
		return fmt.Errorf("write text: %w", problems.join())
	case !again.equal(p.tree):
		return errors.New("write text: it reads otherwise than yours, which has unusual characters: write them as escapes in double quotes")
	}
	return nil
}

// verify lets compose look for contradictions within the text.
func (p *parser) verify() {
	if _, err := p.load(false); err != nil {
		p.blame(err)
	}
}

// load reads p.text. It is given no folder, reads no file (refuse and the options see to that) and no environment but the
// Values.
func (p *parser) load(lenient bool) (project *types.Project, err error) {
	defer func() {
		// It is a large library, and the text is anybody's: what it trips over must not take the manager down.
		if trouble := recover(); trouble != nil {
			err = fmt.Errorf("compose cannot read the text: %v", trouble)
		}
	}()
	environment := maps.Clone(p.Values)
	if environment == nil {
		environment = map[string]string{}
	}
	details := types.ConfigDetails{
		WorkingDir:  "/",
		ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: []byte(p.text)}},
		Environment: environment,
	}
	return loader.LoadWithContext(context.Background(), details, func(o *loader.Options) {
		o.SetProjectName(p.Project, true)
		o.ResolvePaths = false
		o.SkipInclude = true
		o.SkipResolveEnvironment = true
		o.SkipResolveLabels = true
		o.SkipConsistencyCheck = lenient
		o.Interpolate.LookupValue = p.lookup
		o.Interpolate.Substitute = func(value string, lookup template.Mapping) (string, error) {
			return template.SubstituteWithOptions(value, lookup, template.WithoutLogging)
		}
		o.Profiles = p.profiles()
	})
}

// profiles are those that compose takes from the values.
func (p *parser) profiles() []string {
	var all []string
	for name := range strings.SplitSeq(p.Values[profilesVariable], ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}
